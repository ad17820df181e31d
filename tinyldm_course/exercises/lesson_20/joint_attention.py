"""Exercise joint_attention of lesson 20: Pixels and words in one attention."""

import torch
import torch.nn.functional as F
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def joint_attention(pixels, words):
    """Attention in which pixels and words read pixels and words: what is found for each, (B, heads, N or L, d).

    pixels: three tensors q, k, v (B, heads, N, d), of the pixels; words: likewise, (B, heads, L, d).
    softmax(q kᵀ / √d) v over all N + L tokens. Returns: for the pixels, for the words.
    """
    ### BEGIN SOLUTION
    q, k, v = (torch.cat(both, dim=2) for both in zip(pixels, words))
    mixed = F.scaled_dot_product_attention(q, k, v)
    N = pixels[0].shape[2]
    return mixed[:, :, :N], mixed[:, :, N:]
    ### END SOLUTION


def joint_cases(generator: Generator) -> list[Call]:
    """Different numbers of pixels and words."""

    def call(B: int, heads: int, N: int, L: int, d: int) -> Call:
        return Call(
            tuple(tuple(2 * torch.randn(B, heads, n, d, generator=generator) for _ in range(3)) for n in (N, L))
        )

    return [call(1, 1, 2, 1, 2), call(2, 2, 4, 3, 4), call(1, 3, 2, 5, 6)]


def _attend(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def joint_cross_only(pixels, words):
    return _attend(pixels[0], words[1], words[2]), _attend(words[0], pixels[1], pixels[2])


def joint_self_only(pixels, words):
    return _attend(*pixels), _attend(*words)


def joint_words_fixed(pixels, words):
    k, v = (torch.cat([pixels[i], words[i]], dim=2) for i in (1, 2))
    return _attend(pixels[0], k, v), words[2].clone()


def joint_words_read_words(pixels, words):
    return joint_attention(pixels, words)[0], _attend(*words)


def joint_two_sums(pixels, words):
    found = _attend(*pixels) + _attend(pixels[0], words[1], words[2])
    return found, _attend(*words) + _attend(words[0], pixels[1], pixels[2])


def joint_exchanged(pixels, words):
    L = words[0].shape[2]
    q, k, v = (torch.cat(both, dim=2) for both in zip(pixels, words))
    mixed = _attend(q, k, v)
    return mixed[:, :, L:], mixed[:, :, :L]


def joint_without_root(pixels, words):
    q, k, v = (torch.cat(both, dim=2) for both in zip(pixels, words))
    mixed, N = F.scaled_dot_product_attention(q, k, v, scale=1.0), pixels[0].shape[2]
    return mixed[:, :, :N], mixed[:, :, N:]


def joint_causal(pixels, words):
    q, k, v = (torch.cat(both, dim=2) for both in zip(pixels, words))
    mixed, N = F.scaled_dot_product_attention(q, k, v, is_causal=True), pixels[0].shape[2]
    return mixed[:, :, :N], mixed[:, :, N:]


def joint_by_hand(pixels, words):
    k, v = torch.cat([pixels[1], words[1]], 2), torch.cat([pixels[2], words[2]], 2)
    found = []
    for q in (pixels[0], words[0]):
        found.append(torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1) @ v)
    return tuple(found)


def joint_words_first(pixels, words):
    L = words[0].shape[2]
    q, k, v = (torch.cat(both, dim=2) for both in zip(words, pixels))
    mixed = _attend(q, k, v)
    return mixed[:, :, L:], mixed[:, :, :L]


EXERCISE = Exercise(
    name="joint_attention",
    title="Pixels and words in one attention",
    stars=2,
    minutes=10,
    answer=joint_attention,
    cases=joint_cases,
    hints=(
        "Attention does not care what a token is. Make one sequence of both kinds.",
        "Concatenate q with q, k with k, v with v along the tokens: dim=2.",
        "The first N of the result belong to the pixels.",
    ),
    shape_hint=2,
    insight="One softmax over both kinds: the more a pixel reads words, the less it reads pixels. "
    "Cross-attention has two softmaxes, each of which sums to 1.",
    wrong=(
        Wrong("cross-only", joint_cross_only, "Each kind reads the other one only. It should read its own as well."),
        Wrong("self-only", joint_self_only, "Each kind reads only itself. Then the caption has no effect."),
        Wrong(
            "words-fixed",
            joint_words_fixed,
            "Your words do not read anything. In a joint block they are rewritten, too.",
        ),
        Wrong("words-read-words", joint_words_read_words, "Your words do not see the pixels."),
        Wrong(
            "two-softmaxes",
            joint_two_sums,
            "You added two attentions, of which each sums to 1. There is one softmax over all N + L tokens.",
        ),
        Wrong("exchanged", joint_exchanged, "You cut the result at L instead of N: the first N tokens are the pixels."),
        Wrong("no-root", joint_without_root, "The scores are not divided by √d."),
        Wrong("causal", joint_causal, "Your tokens read only those before them. Here everybody reads everybody."),
    ),
    right=(joint_by_hand, joint_words_first),
)
