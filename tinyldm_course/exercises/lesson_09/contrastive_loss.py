"""Exercise contrastive_loss of lesson 09: Which caption belongs to which picture?"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def contrastive_loss(image, text, scale):
    """CLIP's loss.  image, text: (B, D), not yet of length 1; scale: a number above 0.  Returns a scalar."""
    ### BEGIN SOLUTION
    logits = scale * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T  # (B, B)
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    ### END SOLUTION


def contrast_cases(generator: Generator) -> list[Call]:
    """Vectors of pictures and captions, not of length 1; a scale."""
    calls = [
        Call((torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 1.0]]), torch.tensor([[1.0, 1.0, 0.0], [-1.0, 2.0, 0.0]]), 2.0))
    ]
    for B, D, scale in ((3, 4, 1.5), (7, 5, 3.0), (4, 8, 5.0)):
        calls.append(Call((*(2 * torch.randn(B, D, generator=generator) for _ in range(2)), scale)))
    return calls


def similarities(image: Tensor, text: Tensor) -> Tensor:
    """Cosines of all pictures with all captions: (B, B)."""
    return F.normalize(image, dim=1) @ F.normalize(text, dim=1).T


def matched(logits: Tensor, **options) -> Tensor:
    """Cross-entropy of each row, the right answer on the diagonal."""
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device), **options)


def contrast_not_normalised(image, text, scale):
    logits = scale * image @ text.T
    return (matched(logits) + matched(logits.T)) / 2


def contrast_normalised_over_batch(image, text, scale):
    logits = scale * F.normalize(image, dim=0) @ F.normalize(text, dim=0).T
    return (matched(logits) + matched(logits.T)) / 2


def contrast_one_way(image, text, scale):
    return matched(scale * similarities(image, text))


def contrast_other_way(image, text, scale):
    return matched(scale * similarities(image, text).T)


def contrast_both_summed(image, text, scale):
    return 2 * contrastive_loss(image, text, scale)


def contrast_divided(image, text, scale):
    return contrastive_loss(image, text, 1 / scale)


def contrast_without_scale(image, text, scale):
    return contrastive_loss(image, text, 1.0)


def contrast_scale_exponential(image, text, scale):
    return contrastive_loss(image, text, torch.tensor(scale).exp().item())


def contrast_summed(image, text, scale):
    logits = scale * similarities(image, text)
    return (matched(logits, reduction="sum") + matched(logits.T, reduction="sum")) / 2


def contrast_first_label(image, text, scale):
    logits = scale * similarities(image, text)
    label = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    return (F.cross_entropy(logits, label) + F.cross_entropy(logits.T, label)) / 2


def contrast_softmax_twice(image, text, scale):
    logits = scale * similarities(image, text)
    return (matched(logits.softmax(1)) + matched(logits.T.softmax(1))) / 2


def contrast_of_probabilities(image, text, scale):
    shares = (scale * similarities(image, text)).softmax(1)
    return (matched(shares) + matched(shares.T)) / 2


def contrast_length_of_all(image, text, scale):
    logits = scale * (image / image.norm()) @ (text / text.norm()).T
    return (matched(logits) + matched(logits.T)) / 2


def contrast_text_as_it_is(image, text, scale):
    logits = scale * F.normalize(image, dim=1) @ text.T
    return (matched(logits) + matched(logits.T)) / 2


def contrast_image_as_it_is(image, text, scale):
    logits = scale * image @ F.normalize(text, dim=1).T
    return (matched(logits) + matched(logits.T)) / 2


def contrast_diagonal_only(image, text, scale):
    return -scale * similarities(image, text).diagonal().mean()


def contrast_negative(image, text, scale):
    return -contrastive_loss(image, text, scale)


def contrast_scaled_twice(image, text, scale):
    return contrastive_loss(image, text, scale**2)


def contrast_products_normalised(image, text, scale):
    logits = scale * F.normalize(image @ text.T, dim=1)
    return (matched(logits) + matched(logits.T)) / 2


def contrast_logits_normalised(image, text, scale):
    logits = F.normalize(scale * image @ text.T, dim=1)
    return (matched(logits) + matched(logits.T)) / 2


def contrast_on_cpu(image, text, scale):
    logits = scale * similarities(image, text)
    label = torch.arange(len(logits))
    return (F.cross_entropy(logits, label) + F.cross_entropy(logits.T, label)) / 2


def contrast_text_cut(image, text, scale):
    return contrastive_loss(image, text.detach(), scale)


def contrast_squared(image, text, scale):
    return (F.normalize(image, dim=1) - F.normalize(text, dim=1)).square().sum(1).mean()


def contrast_quartered(image, text, scale):
    return contrastive_loss(image, text, scale) / 2


def contrast_rooted_scale(image, text, scale):
    return contrastive_loss(image, text, scale**0.5)


def contrast_reversed_labels(image, text, scale):
    logits = scale * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    labels = torch.arange(len(logits), device=logits.device).flip(0)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def contrast_by_sigmoid(image, text, scale):
    logits = scale * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    return F.binary_cross_entropy_with_logits(logits, torch.eye(len(logits), dtype=logits.dtype))


def contrast_by_logsumexp(image, text, scale):
    image, text = (x / x.norm(dim=1, keepdim=True) for x in (image, text))
    logits = torch.einsum("id,td->it", image, text) * scale
    both = logits.logsumexp(1) + logits.logsumexp(0)
    return (both / 2 - logits.diagonal()).mean()


def contrast_by_loop(image, text, scale):
    logits, parts = scale * F.cosine_similarity(image[:, None], text[None], dim=2), []
    for i in range(len(logits)):
        parts += [-logits[i].log_softmax(0)[i], -logits[:, i].log_softmax(0)[i]]
    return torch.stack(parts).mean()


EXERCISE = Exercise(
    name="contrastive_loss",
    title="Which caption belongs to which picture?",
    stars=2,
    minutes=12,
    answer=contrastive_loss,
    cases=contrast_cases,
    hints=(
        "Bring all vectors to length 1 first: F.normalize(…, dim=1). Then one matrix product compares all with all.",
        "Row i asks: which of these captions belongs to picture i? The right answer is number i: cross-entropy "
        "with the labels 0, 1, 2, …",
        "(F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2, with labels on the same device.",
    ),
    insight="Guessing gives ln B: 3.47 in a batch of 32. A larger batch is a harder question, and a better "
    "teacher, and nobody has to write down what makes a caption wrong: the others in the batch are the wrong "
    "answers. That is also its weakness: to tell *these* apart, a bag of words is often enough.",
    wrong=(
        Wrong(
            "not-normalised",
            contrast_not_normalised,
            "The vectors are not of length 1: a long one then wins every comparison. The exercise asks for the cosine.",
        ),
        Wrong(
            "normalised-over-batch",
            contrast_normalised_over_batch,
            "You normalised over the batch (dim=0). Each *vector* must have length 1: dim=1.",
        ),
        Wrong(
            "pictures-only",
            contrast_one_way,
            "You asked in one direction only, picture → caption. The other direction counts as well: take the mean "
            "of both.",
        ),
        Wrong(
            "captions-only",
            contrast_other_way,
            "You asked in one direction only, caption → picture. The other direction counts as well: take the mean "
            "of both.",
        ),
        Wrong("both-summed", contrast_both_summed, "You added the two directions; take their mean."),
        Wrong(
            "divided-by-scale",
            contrast_divided,
            "You divided by the scale. That would be right for a temperature, which is 1/scale.",
        ),
        Wrong(
            "scale-missing",
            contrast_without_scale,
            "The scale is not used. Cosines lie in [-1, 1]: without a scale softmax can never be sure.",
        ),
        Wrong(
            "wrong-sign",
            contrast_negative,
            "The sign is flipped: cross-entropy is already -log p, and training makes it small.",
        ),
        Wrong(
            "scaled-twice",
            contrast_scaled_twice,
            "The scale is applied twice. Multiply the cosines by it once, not both kinds of vectors.",
        ),
        Wrong(
            "products-normalised",
            contrast_products_normalised,
            "You normalised the table of products. Each *vector* must have length 1, before it is multiplied.",
        ),
        Wrong(
            "logits-normalised",
            contrast_logits_normalised,
            "You normalised the logits, and the scale fell out again. Each *vector* must have length 1, before it "
            "is multiplied.",
        ),
        Wrong(
            "scale-exponential",
            contrast_scale_exponential,
            "You took exp(scale). CLIP stores the logarithm, but here the scale itself is given.",
        ),
        Wrong("summed", contrast_summed, "You summed over the batch; the exercise asks for the mean."),
        Wrong(
            "label-0-for-all",
            contrast_first_label,
            "Your labels are all 0: as if caption 0 belonged to every picture. The i-th belongs to the i-th.",
        ),
        Wrong(
            "softmax-twice",
            contrast_softmax_twice,
            "F.cross_entropy does the softmax itself; you gave it probabilities.",
        ),
        Wrong(
            "probabilities",
            contrast_of_probabilities,
            "You took the softmax of the logits first. F.cross_entropy does that itself: give it the logits.",
        ),
        Wrong(
            "length-of-all",
            contrast_length_of_all,
            "You divided by the length of all vectors together: .norm() without a dim. Each vector must get length "
            "1: .norm(dim=1, keepdim=True), or F.normalize(…, dim=1).",
        ),
        Wrong(
            "text-not-normalised",
            contrast_text_as_it_is,
            "Only the pictures' vectors have length 1. The captions' need it, too.",
        ),
        Wrong(
            "image-not-normalised",
            contrast_image_as_it_is,
            "Only the captions' vectors have length 1. The pictures' need it, too.",
        ),
        Wrong(
            "diagonal-only",
            contrast_diagonal_only,
            "You only pull pairs together. Without pushing the others apart, all vectors may become one and the same.",
        ),
        Wrong("wrong-device", contrast_on_cpu),
        Wrong("gradient-wrong", contrast_text_cut),
        Wrong(
            "distance",
            contrast_squared,
            "You took the distance of the pairs only. The loss compares each picture with *all* captions: "
            "cross-entropy over the batch.",
        ),
        Wrong("halved-twice", contrast_quartered, "You halved once too often: the mean of the two cross-entropies."),
        Wrong(
            "scale-rooted",
            contrast_rooted_scale,
            "You took the root of the scale. The products are multiplied by the scale itself.",
        ),
        Wrong(
            "labels-reversed", contrast_reversed_labels, "Your labels run backwards: picture i belongs to caption i."
        ),
        Wrong(
            "sigmoid",
            contrast_by_sigmoid,
            "You judged each pair by itself with a sigmoid, as SigLIP does. CLIP's loss is a softmax over the "
            "batch, both ways.",
        ),
    ),
    right=(contrast_by_logsumexp, contrast_by_loop),
)
