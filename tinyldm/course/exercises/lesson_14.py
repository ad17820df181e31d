"""Exercises of lesson 14: other people's names for the same weights, a strict load, a schedule from its file."""

import math
import re

import torch
from torch import Generator, Tensor

from tinyldm import checkpoints, forward_diffusion
from tinyldm.course.calls import Call
from tinyldm.course.exercise import Exercise, Wrong
from tinyldm.course.exercises.inputs import integer, no_inputs, uniform

TITLE = "From tiny to Stable Diffusion"


# ── Names ────────────────────────────────────────────────────────────────────────────────────────────

def key_cases(generator: Generator) -> list[Call]:
    """Names of all kinds, with random numbers in them, also of two digits."""
    def some(low: int = 0, high: int = 4) -> int:
        return integer(low, high, generator)

    inside = f"transformer_blocks.{some(10, 20)}"
    keys = ["mid_block.resnets.0.conv1.bias", "mid_block.resnets.1.conv1.bias", "mid_block.attentions.0.proj_in.weight",
            "conv_in.weight", f"down_blocks.{some()}.resnets.{some()}.norm1.weight",
            f"down_blocks.{some()}.downsamplers.0.conv.weight", f"up_blocks.{some()}.upsamplers.0.conv.bias",
            f"up_blocks.{some()}.resnets.{some()}.conv_shortcut.weight",
            f"up_blocks.{some()}.attentions.{some()}.norm.bias",
            f"down_blocks.{some()}.attentions.{some()}.transformer_blocks.0.attn1.to_q.weight",
            f"up_blocks.{some()}.attentions.{some()}.{inside}.attn2.to_out.0.bias"]
    return [Call((key,)) for key in keys]


RULES = (("down_blocks", "down"), ("up_blocks", "up"), ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"),
         ("mid_block.resnets.0", "middle.resblock1"), ("mid_block.resnets.1", "middle.resblock2"),
         ("mid_block.attentions.0", "middle.transformer"), ("resnets", "resblocks"), ("attentions", "transformers"),
         ("transformer_blocks", "blocks"), ("attn1", "self_attention"), ("attn2", "cross_attention"),
         ("to_out.0", "to_out"), ("conv_shortcut", "shortcut"))


def replaced(key: str, rules: tuple) -> str:
    """One rule after the other."""
    for old, new in rules:
        key = key.replace(old, new)
    return key


def with_rule(old: str, new: str) -> tuple:
    """The right rules but for one."""
    return tuple((rule[0], new) if rule[0] == old else rule for rule in RULES)


def key_right(key: str) -> str:
    """The name that this package gives to a weight of diffusers' U-Net."""
    return checkpoints.rename(key, checkpoints.DIFFUSERS_UNET)


def key_attention_swapped(key):
    return replaced(key, tuple({"attn1": ("attn1", "cross_attention"), "attn2": ("attn2", "self_attention")}.get(
        rule[0], rule) for rule in RULES))


def key_dropout_counted(key):
    return replaced(key, with_rule("to_out.0", "to_out.0"))


def key_middle_from_zero(key):
    return replaced(key, with_rule("mid_block.resnets.0", "middle.resblock0")).replace(
        "middle.resblock2", "middle.resblock1")


def key_middle_as_list(key):
    rules = tuple(rule for rule in RULES if not rule[0].startswith("mid_block"))
    return replaced(key, (("mid_block", "middle"), *rules))


def key_general_first(key):
    return replaced(key, tuple(sorted(RULES, key=lambda rule: rule[0] not in ("resnets", "attentions"))))


def key_zeros_removed(key):
    return replaced(key, RULES[:2] + RULES[4:]).replace("samplers.0.", "sample.").replace(".0.", ".")


def key_one_digit(key):
    key = re.sub(r"transformer_blocks\.(\d)", r"blocks.\1.", key).replace("..", ".")
    return replaced(key, RULES)


def key_up_is_down(key):
    return replaced(key, with_rule("up_blocks", "down"))


def key_shortcut_kept(key):
    return replaced(key, with_rule("conv_shortcut", "conv_shortcut"))


def key_by_replacing(key):
    return replaced(key, RULES)


def key_by_parts(key):
    middle = {"resnets.0": "resblock1", "resnets.1": "resblock2", "attentions.0": "transformer"}
    if key.startswith("mid_block."):
        kind = ".".join(key.split(".")[1:3])
        key = f"middle.{middle[kind]}." + ".".join(key.split(".")[3:])
    words = {"down_blocks": "down", "up_blocks": "up", "resnets": "resblocks", "attentions": "transformers",
             "transformer_blocks": "blocks", "attn1": "self_attention", "attn2": "cross_attention",
             "downsamplers": "downsample", "upsamplers": "upsample", "conv_shortcut": "shortcut"}
    parts, before = [], ""
    for part in key.split("."):
        if not (part == "0" and before in ("downsamplers", "upsamplers", "to_out")):
            parts.append(words.get(part, part))
        before = part
    return ".".join(parts)


PACKAGE_KEY = Exercise(
    name="package_key", title="A table of names", stars=2, minutes=15,
    answer=key_right, cases=key_cases,
    hints=("A list of pairs (theirs, ours), and a loop: for old, new in table: key = key.replace(old, new).",
           "The order matters: \"mid_block.resnets.0\" must be replaced before \"resnets\" is.",
           "Most numbers stay. The zeros in \"downsamplers.0\", \"upsamplers.0\" and \"to_out.0\" go with their "
           "words."),
    insight="Thirty such lines are all that lies between two libraries: the numbers in the tensors are the same. The "
            "table read backwards writes files that diffusers opens.",
    wrong=(
        Wrong("attention-swapped", key_attention_swapped,
              "attn1 and attn2 are exchanged. attn1 comes first in a block: it is the pixels' self-attention; attn2 "
              "reads the caption."),
        Wrong("to-out-0-kept", key_dropout_counted,
              "The 0 of \"to_out.0\" stays in your names. In diffusers to_out is a list, of the layer and a dropout; "
              "here it is the layer itself."),
        Wrong("middle-counted-from-0", key_middle_from_zero,
              "The two ResBlocks in the middle are called resblock1 and resblock2 here; yours count from 0."),
        Wrong("middle-as-a-list", key_middle_as_list,
              "You treated the middle like the levels. There the parts have names, not numbers: resblock1, "
              "transformer, resblock2."),
        Wrong("general-before-special", key_general_first,
              "Your general rules come first: once \"resnets\" is replaced everywhere, \"mid_block.resnets.0\" is "
              "never found. Put the special rules before the general ones."),
        Wrong("all-zeros-removed", key_zeros_removed,
              "You removed every \".0.\": the numbers of levels and blocks too. Remove a 0 only together with the word "
              "before it."),
        Wrong("one-digit", key_one_digit,
              "Your pattern takes one digit. Stable Diffusion XL has ten transformer blocks and more in a row: match "
              "\\d+."),
        Wrong("up-is-down", key_up_is_down,
              "up_blocks become \"down\" in your table: two weights get the same name, and one is lost."),
        Wrong("shortcut-kept", key_shortcut_kept, "conv_shortcut is not renamed; it is called shortcut here."),
    ),
    right=(key_by_replacing, key_by_parts))


# ── A strict load ────────────────────────────────────────────────────────────────────────────────────

def load_cases(generator: Generator) -> list[Call]:
    """Tensors by name, and the shapes that the model expects by name."""
    calls = [Call(({"a": torch.zeros(2), "b": torch.zeros(3)}, {"a": (2,), "c": (3,)}))]
    for C in (4, 6):
        C = C + integer(0, 2, generator)
        shapes = {"z.weight": (C, C, 1, 1), "y.weight": (C, 2, 3, 3), "x.weight": (2 * C, C), "u.weight": (3 * C, C),
                  "v.weight": (C, C, 3, 3), "w.bias": (C,), "a.bias": (1,), "c.bias": (C + 1,)}
        expected = {"z.weight": (C, C), "y.weight": (C, 2, 3, 3), "x.weight": (C, 2 * C), "u.weight": (C, 3 * C),
                    "v.weight": (C, C), "c.bias": (C,), "e.bias": (C,), "d.bias": (C,)}
        state = {name: torch.zeros(shape) for name, shape in shapes.items()}
        calls.append(Call((state, expected)))
    return calls


def fits(shape, wanted) -> bool:
    """The same shape, or a 1×1 convolution for a linear layer."""
    return shape == wanted or (len(wanted) == 2 and shape == (*wanted, 1, 1))


def problems(state, expected, fit):
    """Missing, unknown, misshapen names, each sorted."""
    both = expected.keys() & state.keys()
    misshapen = [name for name in both if not fit(tuple(state[name].shape), expected[name])]
    return sorted(expected.keys() - both), sorted(state.keys() - both), sorted(misshapen)


def load_right(state: dict, expected: dict) -> tuple:
    """(missing, unknown, misshapen)."""
    return problems(state, expected, fits)


def load_swapped(state, expected):
    missing, unknown, misshapen = problems(state, expected, fits)
    return unknown, missing, misshapen


def load_exact(state, expected):
    return problems(state, expected, lambda shape, wanted: shape == wanted)


def load_by_count(state, expected):
    return problems(state, expected, lambda shape, wanted: math.prod(shape) == math.prod(wanted))


def load_squeezed(state, expected):
    return problems(state, expected, lambda shape, wanted: shape[:2] == wanted[:2])


def load_without_shapes(state, expected):
    return problems(state, expected, lambda shape, wanted: True)


def load_not_sorted(state, expected):
    return tuple([name for name in order if name in found] for order, found in
                 zip((expected, state, expected), problems(state, expected, fits)))


def load_missing_is_misshapen(state, expected):
    missing, unknown, misshapen = problems(state, expected, fits)
    return missing, unknown, sorted(missing + misshapen)


def load_by_loop(state, expected):
    missing, unknown, misshapen = [], [], []
    for name in sorted({*state, *expected}):
        if name not in state:
            missing.append(name)
        elif name not in expected:
            unknown.append(name)
        else:
            shape, wanted = list(state[name].shape), list(expected[name])
            if len(wanted) == 2 and shape[2:] == [1, 1]:
                shape = shape[:2]
            if shape != wanted:
                misshapen.append(name)
    return missing, unknown, misshapen


def load_by_filter(state, expected):
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = [name for name, wanted in expected.items()
             if name in shapes and shapes[name] not in (wanted, (*wanted, *(1, 1) * (len(wanted) == 2)))]
    return (sorted(set(expected).difference(state)), sorted(set(state).difference(expected)), sorted(wrong))


LOAD_PROBLEMS = Exercise(
    name="load_problems", title="A strict load", stars=2, minutes=12,
    answer=load_right, cases=load_cases,
    hints=("Dictionary keys behave like sets: expected.keys() - state.keys().",
           "Compare shapes only where a name is in both.",
           "A shape fits if it equals the wanted one, or if that has two numbers and the shape is these and (1, 1)."),
    insight="Loading \"what fits\" and ignoring the rest (strict=False) gives a model that runs, draws something, and "
            "is wrong. Stable Diffusion 1 stores linear layers as 1×1 convolutions, 2 does not: same numbers, other "
            "shape.",
    wrong=(
        Wrong("missing-and-unknown-swapped", load_swapped,
              "Missing and unknown are exchanged: missing is what the model expects and the file lacks."),
        Wrong("one-by-one-refused", load_exact,
              "You refuse a 1×1 convolution (C, C, 1, 1) for a linear layer (C, C). Both hold the same numbers; old "
              "files have the one, new ones the other."),
        Wrong("numbers-counted", load_by_count,
              "You compared the count of numbers only. A transposed weight has as many, and would be loaded as "
              "nonsense."),
        Wrong("first-two-only", load_squeezed,
              "You compared the first two sizes only: a 3×3 convolution would pass for a linear layer. Only (1, 1) may "
              "be left out."),
        Wrong("names-only", load_without_shapes, "You compared the names only; the shapes can differ, too."),
        Wrong("not-sorted", load_not_sorted,
              "The names are right, but not sorted. Use sorted(…): a report should not depend on the order in a file."),
        Wrong("missing-twice", load_missing_is_misshapen,
              "What is missing appears among the misshapen as well. A shape is only compared where a name is in both."),
    ),
    right=(load_by_loop, load_by_filter))


# ── The schedule's file ──────────────────────────────────────────────────────────────────────────────

def config_cases(generator: Generator) -> list[Call]:
    """A scheduler_config.json, as a dictionary."""
    def config(name: str, T: int, **more) -> dict:
        start = uniform(0.001, 0.01, generator)
        return {"beta_schedule": name, "num_train_timesteps": T, "beta_start": start,
                "beta_end": start + uniform(0.01, 0.1, generator), **more}

    return [Call((config("linear", 3),)), Call((config("scaled_linear", 4),)),
            Call((config("scaled_linear", 100, steps_offset=1),)), Call((config("sigmoid", 5),)),
            Call(({"beta_schedule": "scaled_linear", "num_train_timesteps": 7},)), Call((config("linear", 50),))]


def by_name(config, scaled, linear):
    """One of two functions (T, start, end) -> (T,)."""
    name, T = config["beta_schedule"], config["num_train_timesteps"]
    ends = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    if name not in ("linear", "scaled_linear"):
        raise ValueError(f"beta_schedule is {name!r}; expected linear or scaled_linear")
    return (scaled if name == "scaled_linear" else linear)(T, *ends)


def config_right(config: dict) -> Tensor:
    """β of "linear" or "scaled_linear"."""
    return by_name(config, forward_diffusion.scaled_linear_betas, forward_diffusion.linear_betas)


def config_as_in_compvis(config):
    scaled = forward_diffusion.scaled_linear_betas
    return by_name(config, scaled, scaled)


def config_swapped(config):
    return by_name(config, forward_diffusion.linear_betas, forward_diffusion.scaled_linear_betas)


def config_name_ignored(config):
    return by_name(config, forward_diffusion.linear_betas, forward_diffusion.linear_betas)


def config_not_squared(config):
    betas = config_right(config)
    return betas.sqrt() if config["beta_schedule"] == "scaled_linear" else betas


def config_of_stable_diffusion(config):
    wanted = {"beta_start": 0.00085, "beta_end": 0.012} | config
    return by_name(wanted, forward_diffusion.scaled_linear_betas, forward_diffusion.linear_betas)


def config_fixed_ends(config):
    return config_right(config | {"beta_start": 0.00085, "beta_end": 0.012})


def config_anything_goes(config):
    wanted = config if config["beta_schedule"] == "scaled_linear" else config | {"beta_schedule": "linear"}
    return config_right(wanted)


def config_by_powers(config):
    power = {"linear": 1, "scaled_linear": 2}.get(config["beta_schedule"])
    if power is None:
        raise ValueError("an unknown schedule")
    start, end = config.get("beta_start", 1e-4), config.get("beta_end", 2e-2)
    return torch.linspace(start ** (1 / power), end ** (1 / power), config["num_train_timesteps"]) ** power


def config_by_loop(config):
    T, start, end = config["num_train_timesteps"], config.get("beta_start", 1e-4), config.get("beta_end", 2e-2)
    if config["beta_schedule"] == "linear":
        return torch.tensor([start + (end - start) * i / (T - 1) for i in range(T)])
    if config["beta_schedule"] == "scaled_linear":
        return torch.tensor([(start**0.5 + (end**0.5 - start**0.5) * i / (T - 1)) ** 2 for i in range(T)])
    raise ValueError(config["beta_schedule"])


BETAS_FROM_CONFIG = Exercise(
    name="betas_from_config", title="A schedule from its file", stars=1, minutes=10,
    answer=config_right, cases=config_cases,
    hints=("Two names, two formulas: β in equal steps, or √β in equal steps and squared.",
           "config.get(\"beta_start\", 0.0001): the file may leave out what is the default.",
           "Any other name: raise a ValueError, do not guess."),
    insight="A wrong schedule raises no error: the network is told a t whose noise it does not see, and the pictures "
            "are only somewhat bad. CompVis' files say \"linear\" for what diffusers calls \"scaled_linear\".",
    wrong=(
        Wrong("linear-of-compvis", config_as_in_compvis,
              "You made \"linear\" scaled, too. That is CompVis' meaning of the word; in diffusers' files \"linear\" "
              "is β itself."),
        Wrong("names-swapped", config_swapped,
              "The two names are exchanged: \"scaled_linear\" is where √β rises linearly."),
        Wrong("name-ignored", config_name_ignored, "beta_schedule is not read: β rises linearly in all of your "
                                                   "schedules."),
        Wrong("not-squared", config_not_squared,
              "For \"scaled_linear\" you return √β. It rises linearly, as it should; square it."),
        Wrong("defaults-of-stable-diffusion", config_of_stable_diffusion,
              "Where the file leaves the ends out you took Stable Diffusion's. The *format's* defaults are 0.0001 and "
              "0.02; a file that means others says so."),
        Wrong("ends-ignored", config_fixed_ends, "beta_start and beta_end are not read: you always take Stable "
                                                 "Diffusion's."),
        Wrong("should-refuse", config_anything_goes),
    ),
    right=(config_by_powers, config_by_loop))


# ── Predict, then explain ────────────────────────────────────────────────────────────────────────────

def width_right():
    return 160


def width_by_name():
    return 8


def width_of_two():
    return 64


def width_of_first_level():
    return 40


def width_of_second_level():
    return 80


def width_of_all():
    return 1280


def width_by_division():
    return 1280 // 8


def width_by_counting():
    return len(range(0, 1280, 8))


HEAD_WIDTH = Exercise(
    name="head_width", title="Predict: a number that means another", stars=1, minutes=6,
    answer=width_right, cases=no_inputs,
    hints=("Count: the projections to q, k and v are 1280 wide, and are split among the heads.",
           "What if the 8 were the *number* of heads?", "1280 / 8"),
    insight="160. The field is misnamed: in Stable Diffusion 1 it holds the number of heads, 8 at every level, so "
            "heads are 40, 80 and 160 wide. Stable Diffusion 2 made all heads 64 wide, and its file says 5, 10, 20, "
            "20: heads again.",
    wrong=(
        Wrong("by-its-name", width_by_name,
              "So it is called, but the name is wrong, and kept for the sake of old files. With heads 8 wide there "
              "would be 160 of them."),
        Wrong("stable-diffusion-2", width_of_two, "64 is the width of a head in Stable Diffusion 2; this is 1."),
        Wrong("first-level", width_of_first_level, "That is 320 / 8, the highest level. The question is about 1280 "
                                                   "channels."),
        Wrong("second-level", width_of_second_level,
              "That is 640 / 8, the second level. The question is about 1280 channels."),
        Wrong("all-heads", width_of_all, "That is all heads together."),
    ),
    right=(width_by_division, width_by_counting))


EXERCISES = (PACKAGE_KEY, LOAD_PROBLEMS, BETAS_FROM_CONFIG, HEAD_WIDTH)
