"""What is to be seen in generated pictures, in words: for alt texts that stay true when the pictures change."""

from functools import cache

from torch import Tensor

from tinyldm.evaluation.judge import Judge


@cache
def judge() -> Judge:
    """The shipped judge, loaded once."""
    return Judge.load()


def seen_in(images: Tensor) -> list[str]:
    """What the judge, a network that reads pictures of the small world (lesson 15), sees in each image.

    Args: images (B, 3, 64, 64) in [0, 1].
    """
    said = []
    for reading in judge().read(images.detach().cpu().clamp(0, 1)):
        things = [f"{thing['size']} {thing['colour']} {thing['shape']}" for thing in reading.things]
        said.append(f" {reading.relation} ".join(things) + f" on {reading.background}" if things else "cannot tell")
    return said
