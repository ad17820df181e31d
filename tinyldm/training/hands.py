"""Style shown by a picture: for each drawing, another one by the same hand.

    caption "a fox" + the picture of a flat panda  ─►  a flat fox

The article's second example of a condition is a picture "in the same style". A picture shows more than its style, so
the picture that is read during training never shows what is to be drawn, and the caption does not name the style: what
the two drawings have in common is the hand, and nothing else helps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinyldm.data.captions import words_of
from tinyldm.data.corpus import Corpus
from tinyldm.data.drawings import Drawing


@dataclass(frozen=True)
class Hands:
    """Who drew each of N images, and what it shows. All tensors are on one device."""

    style: Tensor  # (N,) int64
    thing: Tensor  # (N,) int64; every portrait is of somebody else
    silent: Tensor  # (N, W) bool, the wordings that do not name the style
    by_style: Tensor  # (N,) int64, the numbers of the images, style by style
    first: Tensor  # (S,) int64, where in `by_style` each style begins
    count: Tensor  # (S,) int64, and how many images it has

    def others(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """For each image of `index` (B,) a random one in its style that shows something else: (B,) int64."""
        style = self.style[index]
        first, count = self.first[style], self.count[style]
        chance = torch.rand(len(index), generator=generator, device=index.device)
        place = (chance * count).long().clamp(max=count - 1)
        other = self.by_style[first + place]
        following = self.by_style[first + (place + 1) % count]  # in the order of the drawings: shows something else
        return torch.where(self.thing[other] == self.thing[index], following, other)

    def wordings(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For each image a random wording that does not name the style: (B,) int64, and whether there is one: (B,)."""
        silent = self.silent[index]
        chance = torch.rand(silent.shape, generator=generator, device=index.device)
        return torch.where(silent, chance, -1.0).argmax(1), silent.any(1)


def hands_of(shown: Sequence[Drawing], corpus: Corpus, device: torch.device | str = "cpu") -> Hands:
    """The hands of `drawings_corpus(shown, …)`.

    Raises: ValueError where a style has a single drawing, which has no other one.
    """
    copies = len(corpus) // len(shown)
    styles = sorted({drawing.style for drawing in shown})
    what = [(drawing.name, drawing.number if drawing.attributes else 0) for drawing in shown]
    numbers = {one: number for number, one in enumerate(dict.fromkeys(what))}
    style = torch.tensor([styles.index(drawing.style) for drawing in shown]).repeat(copies)
    thing = torch.tensor([numbers[one] for one in what]).repeat(copies)
    count = torch.bincount(style, minlength=len(styles))
    for number, word in enumerate(styles):
        if len(thing[style == number].unique()) < 2:
            raise ValueError(f"there is one drawing in {word} style; expected two or more, so that one shows the style")
    silent = torch.tensor(
        [
            [drawing.style not in words_of(caption) for caption in wordings]
            for drawing, wordings in zip([*shown] * copies, corpus.captions)
        ]
    )
    parts = (style, thing, silent, style.argsort(stable=True), count.cumsum(0) - count, count)
    return Hands(*(part.to(device) for part in parts))
