"""Exercise slerp of lesson 13: From one noise to another."""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


def slerp(a, b, weight):
    """Walk from a to b on a sphere.  a, b: one shape, each a single noise, not parallel; weight: a number in [0, 1]."""
    ### BEGIN SOLUTION
    angle = ((a * b).sum() / (a.norm() * b.norm())).arccos()
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / angle.sin()
    ### END SOLUTION


def slerp_cases(generator: Generator) -> list[Call]:
    """Two tensors of one shape, a weight. Some are nearly parallel or opposite: there a straight line shows."""
    calls = [Call((torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 2.0], [1.0, 0.0]]), 0.25))]
    for shape in ((3, 5), (1, 4, 8, 8)):
        a, b = (torch.randn(shape, generator=generator) for _ in range(2))
        calls.append(Call((a, b, uniform(0.1, 0.4, generator))))
    for cosine in (
        uniform(0.6, 0.8, generator),
        uniform(0.93, 0.97, generator),
        0.997,
        uniform(-0.97, -0.93, generator),
    ):
        a, b = (torch.randn(2, 4, 4, generator=generator) for _ in range(2))
        b = b - (a * b).sum() / a.square().sum() * a  # now at right angles to a
        b = cosine * a / a.norm() + (1 - cosine**2) ** 0.5 * b / b.norm()
        calls.append(Call((a, uniform(3, 6, generator) * b, uniform(0.2, 0.4, generator))))
    return calls


def angle_between(a, b):
    """Of the whole tensors."""
    return ((a * b).sum() / (a.norm() * b.norm())).arccos()


def slerp_straight(a, b, weight):
    return (1 - weight) * a + weight * b


def slerp_straight_rescaled(a, b, weight):
    mixed = (1 - weight) * a + weight * b
    return mixed / mixed.norm() * ((1 - weight) * a.norm() + weight * b.norm())


def slerp_ends_swapped(a, b, weight):
    return slerp(b, a, weight)


def slerp_not_divided(a, b, weight):
    angle = angle_between(a, b)
    return torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b


def slerp_unit_length(a, b, weight):
    return slerp(a / a.norm(), b / b.norm(), weight)


def turned_by(angle, a, b, weight):
    """The formula, with an angle (a number or a tensor) that may be wrong."""
    angle = torch.as_tensor(angle)
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / angle.sin()


def slerp_norms_forgotten(a, b, weight):
    return turned_by((a * b).sum().arccos(), a, b, weight)


def slerp_norms_forgotten_in_python(a, b, weight):
    return turned_by(math.acos((a * b).sum()), a, b, weight)


def slerp_cosine_not_normalised(a, b, weight):
    return turned_by((a * b).sum().clamp(-0.9995, 0.9995).arccos(), a, b, weight)


def slerp_arccos_forgotten(a, b, weight):
    return turned_by((a * b).sum() / (a.norm() * b.norm()), a, b, weight)


def slerp_by_row(a, b, weight):
    angle = ((a * b).sum(-1, keepdim=True) / (a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True))).arccos()
    return turned_by(angle, a, b, weight)


def slerp_quarter_circle(a, b, weight):
    return math.cos(weight * math.pi / 2) * a + math.sin(weight * math.pi / 2) * b


def slerp_straight_above(limit, size=lambda cosine: cosine):
    """A wrong answer that goes straight where the cosine, or its size, is above a limit."""

    def answer(a, b, weight):
        cosine = (a * b).sum() / (a.norm() * b.norm())
        return slerp_straight(a, b, weight) if size(cosine) > limit else slerp(a, b, weight)

    return answer


def slerp_of_squared_norms(a, b, weight):
    return turned_by(((a * b).sum() / (a.square().sum() * b.square().sum())).arccos(), a, b, weight)


def slerp_of_mean_product(a, b, weight):
    return turned_by(((a * b).mean() / (a.norm() * b.norm())).arccos(), a, b, weight)


def slerp_by_cosines(a, b, weight):
    angle = angle_between(a, b)
    return (torch.cos((1 - weight) * angle) * a + torch.cos(weight * angle) * b) / angle.cos()


def slerp_divided_by_angle(a, b, weight):
    angle = angle_between(a, b)
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / angle


def slerp_halved(a, b, weight):
    return turned_by(angle_between(a, b) / 2, a, b, weight)


def slerp_root_weights(a, b, weight):
    return (1 - weight) ** 0.5 * a + weight**0.5 * b


def slerp_middle(a, b, weight):
    return slerp(a, b, 0.5)


def slerp_in_degrees(a, b, weight):
    return turned_by(angle_between(a, b).rad2deg(), a, b, weight)


def slerp_straight_to_unit_length(a, b, weight):
    mixed = (1 - weight) * a + weight * b
    return mixed / mixed.norm()


def slerp_minus(a, b, weight):
    angle = angle_between(a, b)
    return (torch.sin((1 - weight) * angle) * a - torch.sin(weight * angle) * b) / angle.sin()


def slerp_of_assumed_length(a, b, weight):
    return turned_by(((a * b).sum() / a.numel()).clamp(-1, 1).arccos(), a, b, weight)


def slerp_of_one_length(a, b, weight):
    return turned_by(((a * b).sum() / a.square().sum()).clamp(-1, 1).arccos(), a, b, weight)


def slerp_of_other_length(a, b, weight):
    return turned_by(((a * b).sum() / b.square().sum()).clamp(-1, 1).arccos(), a, b, weight)


def slerp_below_a_right_angle(a, b, weight):
    return turned_by(((a * b).sum() / (a.norm() * b.norm())).abs().arccos(), a, b, weight)


def slerp_straight_to_length_of_a(a, b, weight):
    mixed = (1 - weight) * a + weight * b
    return mixed / mixed.norm() * a.norm()


def slerp_by_math(a, b, weight):
    angle = math.acos(((a * b).sum() / (a.norm() * b.norm())).item())
    return (math.sin((1 - weight) * angle) * a + math.sin(weight * angle) * b) / math.sin(angle)


def slerp_by_library(a, b, weight):
    angle = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).arccos()
    return a * (torch.sin((1 - weight) * angle) / angle.sin()) + b * (torch.sin(weight * angle) / angle.sin())


def slerp_by_tangent(a, b, weight):
    unit_a, unit_b = a / a.norm(), b / b.norm()
    angle = torch.atan2((unit_b - (unit_a * unit_b).sum() * unit_a).norm(), (unit_a * unit_b).sum())
    return torch.sin(angle - weight * angle) / angle.sin() * a + torch.sin(weight * angle) / angle.sin() * b


EXERCISE = Exercise(
    name="slerp",
    title="From one noise to another",
    stars=2,
    minutes=10,
    answer=slerp,
    cases=slerp_cases,
    constants=("a", "b"),
    hints=(
        "θ is the angle between the two as vectors of all their numbers: cos θ = a·b / (|a| |b|).",
        "(a * b).sum() and .norm() go over the whole tensor; .arccos() gives θ.",
        "(sin((1-ω)θ) a + sin(ωθ) b) / sin θ",
    ),
    shape_hint=2,
    insight="Two independent noises of many numbers are nearly at right angles. The straight middle between them "
    "has 1/√2 = 0.71 of their length, and the U-Net has never seen noise that weak: such pictures are flat and "
    "dull.",
    wrong=(
        Wrong(
            "straight",
            slerp_straight,
            "That is the straight line (lerp). Its middle is shorter than both ends: the path leaves the sphere on "
            "which all Gaussian noise lies.",
        ),
        Wrong(
            "straight-rescaled",
            slerp_straight_rescaled,
            "You went straight and stretched the result. Then its length is right, but not its position: it moves "
            "slowly at the ends and fast in the middle. Rotate by equal angles instead.",
        ),
        Wrong("ends-swapped", slerp_ends_swapped, "The ends are swapped: weight 0 is a, weight 1 is b."),
        Wrong(
            "not-divided",
            slerp_not_divided,
            "The division by sin θ is missing: with weight 0 you get sin θ · a instead of a.",
        ),
        Wrong(
            "length-lost",
            slerp_unit_length,
            "You scaled both to length 1 and left them there. Only the *angle* needs unit vectors; noise of N "
            "numbers has a length of about √N, and the U-Net expects it.",
        ),
        Wrong(
            "norms-forgotten",
            slerp_norms_forgotten,
            "Your result is NaN: a·b is not yet a cosine, it may lie far outside [-1, 1], where arccos is not "
            "defined. Divide by both lengths, |a| |b|.",
        ),
        Wrong(
            "norms-forgotten-in-python",
            slerp_norms_forgotten_in_python,
            "math.acos refuses a number outside [-1, 1]: a·b is not yet a cosine. Divide by both lengths, |a| |b|.",
        ),
        Wrong(
            "cosine-not-normalised",
            slerp_cosine_not_normalised,
            "a·b is not yet a cosine: divide by both lengths, |a| |b|. (Clamping only hides that.)",
        ),
        Wrong("arccos-forgotten", slerp_arccos_forgotten, "You took cos θ for θ: the arccos is missing."),
        Wrong(
            "angle-for-each-row",
            slerp_by_row,
            "You took an angle for each row. The noise is one vector of all its numbers: one dot product, one angle.",
        ),
        Wrong(
            "right-angle-assumed",
            slerp_quarter_circle,
            "You took θ = 90°. Independent noises are close to it, but not there; compute θ.",
        ),
        Wrong(
            "straight-where-near",
            slerp_straight_above(0.9),
            "You go straight where the two are near each other. The sphere's formula also holds there; only for "
            "vectors that are parallel, within rounding, it divides by 0.",
        ),
        Wrong(
            "straight-where-nearer",
            slerp_straight_above(0.5),
            "You go straight where the two are near each other. The sphere's formula also holds there; only for "
            "vectors that are parallel, within rounding, it divides by 0.",
        ),
        Wrong(
            "straight-where-nearest",
            slerp_straight_above(0.99),
            "You go straight where the two are near each other. The sphere's formula also holds there; only for "
            "vectors that are parallel, within rounding, it divides by 0.",
        ),
        Wrong(
            "straight-where-parallel",
            slerp_straight_above(0.9, abs),
            "You go straight where the two are near each other, or nearly opposite. The sphere's formula also "
            "holds there; only for vectors that are parallel, within rounding, it divides by 0.",
        ),
        Wrong(
            "straight-where-parallel-or-so",
            slerp_straight_above(0.5, abs),
            "You go straight where the two are near each other, or nearly opposite. The sphere's formula also "
            "holds there; only for vectors that are parallel, within rounding, it divides by 0.",
        ),
        Wrong(
            "norms-squared",
            slerp_of_squared_norms,
            "You divided by the squares of the lengths: cos θ = a·b / (|a| |b|).",
        ),
        Wrong("product-averaged", slerp_of_mean_product, "You averaged the products. a·b is their *sum*."),
        Wrong("cosines", slerp_by_cosines, "You took cosines for sines."),
        Wrong("divided-by-angle", slerp_divided_by_angle, "You divided by θ. It is sin θ."),
        Wrong("angle-halved", slerp_halved, "You took half the angle."),
        Wrong(
            "roots",
            slerp_root_weights,
            "You mixed with √(1-w) and √w. That is right for variances of independent noises; here you rotate by "
            "equal angles.",
        ),
        Wrong("middle", slerp_middle, "You ignore the weight: yours is the middle."),
        Wrong("degrees", slerp_in_degrees, "Your angle is in degrees. torch's sine takes radians, which arccos gives."),
        Wrong(
            "straight-and-unit-length",
            slerp_straight_to_unit_length,
            "You went straight and scaled the result to length 1. Rotate by equal angles, and keep the lengths of "
            "a and b.",
        ),
        Wrong("minus", slerp_minus, "You subtracted b's part. It is added."),
        Wrong(
            "length-assumed",
            slerp_of_assumed_length,
            "You took √n for both lengths, which noise has on average only. Divide by the lengths themselves: "
            "a.norm() * b.norm().",
        ),
        Wrong(
            "length-of-a-twice",
            slerp_of_one_length,
            "You divided a·b by |a|². Both lengths count: cos θ = a·b / (|a| |b|).",
        ),
        Wrong(
            "length-of-b-twice",
            slerp_of_other_length,
            "You divided a·b by |b|². Both lengths count: cos θ = a·b / (|a| |b|).",
        ),
        Wrong(
            "sign-of-the-cosine-lost",
            slerp_below_a_right_angle,
            "You took |cos θ|, so your angle is at most 90°. Two noises may also point away from each other: "
            "leave the sign.",
        ),
        Wrong(
            "straight-to-length-of-a",
            slerp_straight_to_length_of_a,
            "You went straight and stretched the result to the length of a. Rotate by equal angles instead; at "
            "weight 1 the result is b, with its own length.",
        ),
    ),
    right=(slerp_by_library, slerp_by_tangent, slerp_by_math),
)
