"""Exercise attention_weights of lesson 07: Predict: how many weights?"""

from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong

### BEGIN SOLUTION
attention_weights = 8 * 64**4  # heads · N², and N = 64 · 64
### END SOLUTION


def one_number(generator: Generator) -> list[Call]:
    """Nothing to try it on: the answer is a number."""
    return [Call(())]


EXERCISE = Exercise(
    name="attention_weights",
    title="Predict: how many weights?",
    stars=1,
    minutes=6,
    answer=lambda: attention_weights,
    cases=one_number,
    tolerance=0.036,  # of 1.1 times the number
    hints=(
        "How many queries are there? One per pixel of the *feature map*.",
        "In self-attention the pixels are the keys too.",
        "heads · N · N, with N = 64 · 64.",
    ),
    insight="8 · 4096² = 134,217,728: in float32, 512 MiB for one image in one layer. The cost grows with the "
    "fourth power of the side: at 32×32 it is a sixteenth, on the 512×512 pixels themselves 4096 times as much. "
    "That is why diffusion moved to latents. Cross-attention has only 8 · 4096 · 77 = 2,523,136.",
    wrong=(
        Wrong(
            "power-of-ten",
            lambda: 1e8,
            "The power of ten is right. Now work the number out: within 4 % is near enough.",
        ),
        Wrong(
            "heads-forgotten",
            lambda: 4096.0**2,
            "That is one head's table, 4096². There are 8, each with a table of its own.",
        ),
        Wrong(
            "cross-attention",
            lambda: 8.0 * 4096 * 77,
            "That is cross-attention, with 77 words as keys. In self-attention the 4096 pixels are the keys too.",
        ),
        Wrong(
            "pixels-counted-once",
            lambda: 8.0 * 64 * 64,
            "That is one weight for each pixel and head. Each pixel has one weight for *every* pixel: N².",
        ),
        Wrong(
            "side-for-pixels",
            lambda: 8.0 * 64,
            "You took the side, 64, for the number of queries. It is one query per pixel: 64 · 64 of them.",
        ),
        Wrong(
            "channels-counted",
            lambda: 320.0 * 4096,
            "That is the size of the feature map. The weights are between pixels: channels do not matter.",
        ),
        Wrong(
            "channels-for-heads",
            lambda: 320.0 * 4096**2,
            "You counted a table for each channel. There is one for each of the 8 heads: a head's 40 numbers are "
            "summed up in one score.",
        ),
        Wrong(
            "image-pixels",
            lambda: 8.0 * (512 * 512) ** 2,
            "You counted the pixels of the image. The U-Net works on the latent: its first feature map is 64×64.",
        ),
        Wrong(
            "counted-twice",
            lambda: 2.0 * attention_weights,
            "That is twice the number. Self-attention has one weight for each pair of pixels and each head; "
            "cross-attention is not asked for.",
        ),
    ),
    right=(lambda: 8 * (64 * 64) ** 2, lambda: 134e6, lambda: 1.3e8),
)
