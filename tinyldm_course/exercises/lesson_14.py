"""Exercises of lesson 14: other people's names for the same weights, a strict load, a schedule from its file."""

import math
import re

import torch
from torch import Generator, Tensor

from tinyldm import forward_diffusion
from tinyldm.formats import diffusers_folder as checkpoints
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, no_inputs, uniform

TITLE = "From tiny to Stable Diffusion"


# ── Names ────────────────────────────────────────────────────────────────────────────────────────────


def key_cases(generator: Generator) -> list[Call]:
    """Names of all kinds, with random numbers in them, also of two digits; and some that stay."""

    def some(low: int = 0, high: int = 4) -> int:
        return integer(low, high, generator)

    inside = f"transformer_blocks.{some(10, 20)}"
    keys = [
        "mid_block.resnets.0.conv1.bias",
        "mid_block.resnets.1.conv1.bias",
        "mid_block.attentions.0.proj_in.weight",
        "conv_in.weight",
        f"down_blocks.{some()}.resnets.{some()}.norm1.weight",
        f"down_blocks.{some()}.downsamplers.0.conv.weight",
        f"up_blocks.{some()}.upsamplers.0.conv.bias",
        f"up_blocks.{some()}.resnets.{some()}.conv_shortcut.weight",
        f"up_blocks.{some()}.attentions.{some()}.norm.bias",
        f"down_blocks.{some()}.attentions.{some()}.transformer_blocks.0.attn1.to_q.weight",
        f"up_blocks.{some()}.attentions.{some()}.{inside}.attn2.to_out.0.bias",
        "conv_norm_out.bias",
        "time_embedding.linear_1.weight",
        f"down_blocks.{some()}.resnets.{some()}.time_emb_proj.weight",
        f"down_blocks.{some()}.attentions.{some()}.transformer_blocks.0.ff.net.0.proj.weight",
        f"mid_block.attentions.0.{inside}.ff.net.2.bias",
    ]
    return [Call((key,)) for key in keys]


RULES = (
    ("down_blocks", "down"),
    ("up_blocks", "up"),
    ("downsamplers.0", "downsample"),
    ("upsamplers.0", "upsample"),
    ("mid_block.resnets.0", "middle.resblock1"),
    ("mid_block.resnets.1", "middle.resblock2"),
    ("mid_block.attentions.0", "middle.transformer"),
    ("resnets", "resblocks"),
    ("attentions", "transformers"),
    ("transformer_blocks", "blocks"),
    ("attn1", "self_attention"),
    ("attn2", "cross_attention"),
    ("to_out.0", "to_out"),
    ("conv_shortcut", "shortcut"),
)


def replaced(key: str, rules: tuple) -> str:
    """One rule after the other."""
    for old, new in rules:
        key = key.replace(old, new)
    return key


def with_rule(old: str, new: str) -> tuple:
    """The right rules but for one."""
    return tuple((rule[0], new) if rule[0] == old else rule for rule in RULES)


def key_right(key: str) -> str:
    """The name after the table."""
    return replaced(key, RULES)


def key_unchanged(key):
    for old, new in RULES:
        key.replace(old, new)
    return key


def key_first_match_only(key):
    for old, new in RULES:
        if old in key:
            return key.replace(old, new)
    return key


def key_backwards(key):
    return replaced(key, tuple((new, old) for old, new in RULES))


def key_of_the_package(key):
    return checkpoints.rename(key, checkpoints.DIFFUSERS_UNET)


def key_attention_swapped(key):
    return replaced(
        key,
        tuple(
            {"attn1": ("attn1", "cross_attention"), "attn2": ("attn2", "self_attention")}.get(rule[0], rule)
            for rule in RULES
        ),
    )


def key_dropout_counted(key):
    return replaced(key, with_rule("to_out.0", "to_out.0"))


def key_middle_from_zero(key):
    return replaced(key, with_rule("mid_block.resnets.0", "middle.resblock0")).replace(
        "middle.resblock2", "middle.resblock1"
    )


def key_middle_as_list(key):
    rules = tuple(rule for rule in RULES if not rule[0].startswith("mid_block"))
    return replaced(key, (("mid_block", "middle"), *rules))


def key_general_first(key):
    return replaced(key, tuple(sorted(RULES, key=lambda rule: rule[0] not in ("resnets", "attentions"))))


def key_resnets_first(key):
    return replaced(key, tuple(sorted(RULES, key=lambda rule: rule[0] != "resnets")))


def key_attentions_first(key):
    return replaced(key, tuple(sorted(RULES, key=lambda rule: rule[0] != "attentions")))


def key_samplers_counted(key):
    return replaced(key, tuple((old, new + ".0") if "samplers" in old else (old, new) for old, new in RULES))


def key_zeros_removed(key):
    return replaced(key, RULES[:2] + RULES[4:]).replace("samplers.0.", "sample.").replace(".0.", ".")


def key_one_digit(key):
    key = re.sub(r"transformer_blocks\.(\d)", r"blocks.\1.", key).replace("..", ".")
    return replaced(key, RULES)


def key_up_is_down(key):
    return replaced(key, with_rule("up_blocks", "down"))


def key_shortcut_kept(key):
    return replaced(key, with_rule("conv_shortcut", "conv_shortcut"))


def key_by_the_package(key):
    stay = ("time_embedding", "add_embedding", "conv_norm_out", ".time_emb_proj", ".ff.")
    return checkpoints.rename(key, [rule for rule in checkpoints.DIFFUSERS_UNET if not rule[0].startswith(stay)])


def key_by_parts(key):
    middle = {"resnets.0": "resblock1", "resnets.1": "resblock2", "attentions.0": "transformer"}
    if key.startswith("mid_block."):
        kind = ".".join(key.split(".")[1:3])
        key = f"middle.{middle[kind]}." + ".".join(key.split(".")[3:])
    words = {
        "down_blocks": "down",
        "up_blocks": "up",
        "resnets": "resblocks",
        "attentions": "transformers",
        "transformer_blocks": "blocks",
        "attn1": "self_attention",
        "attn2": "cross_attention",
        "downsamplers": "downsample",
        "upsamplers": "upsample",
        "conv_shortcut": "shortcut",
    }
    parts, before = [], ""
    for part in key.split("."):
        if not (part == "0" and before in ("downsamplers", "upsamplers", "to_out")):
            parts.append(words.get(part, part))
        before = part
    return ".".join(parts)


PACKAGE_KEY = Exercise(
    name="package_key",
    title="A table of names",
    stars=2,
    minutes=15,
    answer=key_right,
    cases=key_cases,
    hints=(
        "A list of pairs (theirs, ours), and a loop: for old, new in table: key = key.replace(old, new).",
        'The order matters: "mid_block.resnets.0" must be replaced before "resnets" is.',
        'Most numbers stay. The zeros in "downsamplers.0", "upsamplers.0" and "to_out.0" go with their words.',
    ),
    insight="Thirty such lines are all that lies between two libraries: the numbers in the tensors are the same. The "
    "table read backwards writes files that diffusers opens.",
    wrong=(
        Wrong(
            "unchanged",
            key_unchanged,
            "The name comes back as it was given. Strings never change: key.replace(…) returns a new one, so write "
            "key = key.replace(…).",
        ),
        Wrong(
            "first-match-only",
            key_first_match_only,
            "You stop after the first rule that fits. Several apply to one name: return behind the loop.",
        ),
        Wrong(
            "backwards",
            key_backwards,
            "Your table is read backwards, from our names to theirs: key.replace(theirs, ours).",
        ),
        Wrong(
            "more-than-the-table",
            key_of_the_package,
            "You rename more than the table says, such as conv_norm_out, time_emb_proj or ff.net. The package does "
            "so; here all else stays.",
        ),
        Wrong(
            "samplers-0-kept",
            key_samplers_counted,
            'The 0 of "downsamplers.0" and "upsamplers.0" stays in your names. There is never more than one in '
            "a level, so here it has no number.",
        ),
        Wrong(
            "attention-swapped",
            key_attention_swapped,
            "attn1 and attn2 are exchanged. attn1 comes first in a block: it is the pixels' self-attention; attn2 "
            "reads the caption.",
        ),
        Wrong(
            "to-out-0-kept",
            key_dropout_counted,
            'The 0 of "to_out.0" stays in your names. In diffusers to_out is a list, of the layer and a dropout; '
            "here it is the layer itself.",
        ),
        Wrong(
            "middle-counted-from-0",
            key_middle_from_zero,
            "The two ResBlocks in the middle are called resblock1 and resblock2 here; yours count from 0.",
        ),
        Wrong(
            "middle-as-a-list",
            key_middle_as_list,
            "You treated the middle like the levels. There the parts have names, not numbers: resblock1, "
            "transformer, resblock2.",
        ),
        Wrong(
            "general-before-special",
            key_general_first,
            'The middle is treated as a level: "resnets" and "attentions" are replaced there, and "mid_block" '
            'stays. Rules such as "mid_block.resnets.0" are missing, or come after the general ones, when it is '
            "too late to find them: put them first.",
        ),
        Wrong(
            "resnets-before-middle",
            key_resnets_first,
            '"mid_block" stays before the ResBlocks: the rules for "mid_block.resnets.0" and "….1" are '
            'missing, or come after the one for "resnets", when it is too late to find them. Put them first.',
        ),
        Wrong(
            "attentions-before-middle",
            key_attentions_first,
            '"mid_block" stays before the transformer: the rule for "mid_block.attentions.0" is missing, or '
            'comes after the one for "attentions", when it is too late to find it. Put it first.',
        ),
        Wrong(
            "all-zeros-removed",
            key_zeros_removed,
            'You removed every ".0.": the numbers of levels and blocks too. Remove a 0 only together with the word '
            "before it.",
        ),
        Wrong(
            "one-digit",
            key_one_digit,
            "Your pattern takes one digit. Stable Diffusion XL has ten transformer blocks and more in a row: match "
            "\\d+.",
        ),
        Wrong(
            "up-is-down",
            key_up_is_down,
            'up_blocks become "down" in your table: two weights get the same name, and one is lost.',
        ),
        Wrong("shortcut-kept", key_shortcut_kept, "conv_shortcut is not renamed; it is called shortcut here."),
    ),
    right=(key_by_the_package, key_by_parts),
)


# ── A strict load ────────────────────────────────────────────────────────────────────────────────────


def load_cases(generator: Generator) -> list[Call]:
    """Tensors by name, and the shapes that the model wants by name. First one question at a time, then all of them.

    No two of the three lists are to be equally long where one could be taken for another.
    """
    C, D = integer(3, 6, generator), integer(7, 10, generator)
    calls = [Call(({"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(4)}, {"a": (2,), "d": (3,)}))]
    for shape, wanted in (
        ((D, C, 1, 1), (D, C)),
        ((D, C, 1, 1), (D, C, 1, 1)),
        ((D, C, 1, 1), (C, C)),
        ((C, C, 3, 3), (C, C)),
        ((C, D), (D, C)),
        ((2, 6), (3, 4)),
        ((D, C), (D, C, 1, 1)),
        ((C, C, 1, 1), (C, C, 3, 3)),
        ((1, C), (1, C)),
        ((1, C), (C,)),
        ((1, C, 1, 1), (1, C)),
        ((C, 1, 1), (C,)),
    ):
        calls.append(Call(({"a": torch.zeros(shape)}, {"a": wanted})))
    for C in (4, 6):
        C = C + integer(0, 2, generator)
        shapes = {
            "z.weight": (C, C, 1, 1),
            "y.weight": (C, 2, 3, 3),
            "x.weight": (2 * C, C),
            "u.weight": (3 * C, C),
            "v.weight": (C, C, 3, 3),
            "w.bias": (C,),
            "a.bias": (1,),
            "b.bias": (2,),
            "c.bias": (C + 1,),
        }
        wanted = {
            "z.weight": (C, C),
            "y.weight": (C, 2, 3, 3),
            "x.weight": (C, 2 * C),
            "u.weight": (C, 3 * C),
            "v.weight": (C, C),
            "c.bias": (C,),
            "e.bias": (C,),
            "d.bias": (C,),
        }
        calls.append(Call(({name: torch.zeros(shape) for name, shape in shapes.items()}, wanted)))
    return calls


def fits(shape, wanted) -> bool:
    """The same shape, or a 1×1 convolution for a linear layer."""
    return shape == wanted or (len(wanted) == 2 and shape == (*wanted, 1, 1))


def problems(state, wanted, fit=fits):
    """Missing, unknown, misshapen names, each sorted."""
    both = wanted.keys() & state.keys()
    misshapen = [name for name in both if not fit(tuple(state[name].shape), wanted[name])]
    return sorted(wanted.keys() - both), sorted(state.keys() - both), sorted(misshapen)


def load_right(state: dict, wanted: dict) -> tuple:
    """(missing, unknown, misshapen)."""
    return problems(state, wanted)


def load_pairs(state, wanted):
    missing, unknown, misshapen = problems(state, wanted)
    return missing, unknown, [(name, tuple(state[name].shape)) for name in misshapen]


def load_swapped(state, wanted):
    missing, unknown, misshapen = problems(state, wanted)
    return unknown, missing, misshapen


def load_exact(state, wanted):
    return problems(state, wanted, lambda shape, wanted: shape == wanted)


def load_by_count(state, wanted):
    return problems(state, wanted, lambda shape, wanted: math.prod(shape) == math.prod(wanted))


def load_transposed(state, wanted):
    return problems(state, wanted, lambda shape, wanted: fits(shape, wanted) or shape == wanted[::-1])


def load_first_two(state, wanted):
    return problems(state, wanted, lambda shape, wanted: shape[:2] == wanted[:2])


def load_any_convolution(state, wanted):
    return problems(state, wanted, lambda shape, wanted: shape == wanted or shape[2:] == (1, 1))


def load_both_ways(state, wanted):
    return problems(state, wanted, lambda shape, wanted: fits(shape, wanted) or fits(wanted, shape))


def load_any_with_ones(state, wanted):
    return problems(state, wanted, lambda shape, wanted: shape in (wanted, (*wanted, 1, 1)))


def squeezed(shape):
    """Without its ones."""
    return tuple(size for size in shape if size != 1)


def load_squeezed(state, wanted):
    return problems(state, wanted, lambda shape, wanted: squeezed(shape) == wanted)


def load_squeezed_or_same(state, wanted):
    return problems(state, wanted, lambda shape, wanted: wanted in (shape, squeezed(shape)))


def load_both_squeezed(state, wanted):
    return problems(state, wanted, lambda shape, wanted: squeezed(shape) == squeezed(wanted))


def load_without_shapes(state, wanted):
    return problems(state, wanted, lambda shape, wanted: True)


def load_not_sorted(state, wanted):
    return tuple(
        [name for name in order if name in found]
        for order, found in zip((wanted, state, wanted), problems(state, wanted))
    )


def load_missing_is_misshapen(state, wanted):
    missing, unknown, misshapen = problems(state, wanted)
    return missing, unknown, sorted(missing + misshapen)


def load_unknown_is_misshapen(state, wanted):
    missing, unknown, misshapen = problems(state, wanted)
    return missing, unknown, sorted(unknown + misshapen)


def load_all_is_misshapen(state, wanted):
    missing, unknown, misshapen = problems(state, wanted)
    return missing, unknown, sorted(missing + unknown + misshapen)


def load_by_loop(state, wanted):
    missing, unknown, misshapen = [], [], []
    for name in sorted({*state, *wanted}):
        if name not in state:
            missing.append(name)
        elif name not in wanted:
            unknown.append(name)
        else:
            shape, right = list(state[name].shape), list(wanted[name])
            if len(right) == 2 and shape[2:] == [1, 1]:
                shape = shape[:2]
            if shape != right:
                misshapen.append(name)
    return missing, unknown, misshapen


def load_by_filter(state, wanted):
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = [
        name
        for name, right in wanted.items()
        if name in shapes and shapes[name] not in (right, (*right, *(1, 1) * (len(right) == 2)))
    ]
    return (sorted(set(wanted).difference(state)), sorted(set(state).difference(wanted)), sorted(wrong))


LOAD_PROBLEMS = Exercise(
    name="load_problems",
    title="A strict load",
    stars=2,
    minutes=12,
    answer=load_right,
    cases=load_cases,
    hints=(
        "Dictionary keys behave like sets: wanted.keys() - state.keys().",
        "Compare shapes only where a name is in both.",
        "A shape fits if it equals the wanted one, or if that has two numbers and the shape is these and (1, 1): "
        "len(w) == 2 and shape == (*w, 1, 1).",
    ),
    insight='Loading "what fits" and ignoring the rest (strict=False) gives a model that runs, draws something, and '
    "is wrong. Stable Diffusion 1 stores linear layers as 1×1 convolutions, 2 does not: same numbers, other "
    "shape.",
    wrong=(
        Wrong(
            "more-than-names",
            load_pairs,
            "Your third list holds more than names, such as pairs of a name and a shape. Names alone are asked for, "
            "as strings.",
        ),
        Wrong(
            "missing-and-unknown-swapped",
            load_swapped,
            "Missing and unknown are exchanged: missing is what the model wants and the file lacks.",
        ),
        Wrong(
            "one-by-one-refused",
            load_exact,
            "You refuse a 1×1 convolution (C_out, C_in, 1, 1) for a linear layer (C_out, C_in). Both hold the same "
            "numbers; old files have the one, new ones the other.",
        ),
        Wrong(
            "numbers-counted",
            load_by_count,
            "You compared the count of numbers only. A transposed weight has as many, and would be loaded as nonsense.",
        ),
        Wrong(
            "transposed-accepted",
            load_transposed,
            "You let the sizes stand in another order. (2, 3) does not fit (3, 2): the numbers would be loaded in "
            "the wrong order, as nonsense.",
        ),
        Wrong(
            "first-two-only",
            load_first_two,
            "You compared the first two sizes only: a 3×3 convolution would pass for a linear layer. Only (1, 1) may "
            "be left out.",
        ),
        Wrong(
            "any-one-by-one",
            load_any_convolution,
            "Every 1×1 convolution fits in your answer, whatever its channels are. It only fits a linear layer of "
            "the same two sizes: (C_out, C_in, 1, 1) for (C_out, C_in).",
        ),
        Wrong(
            "both-directions",
            load_both_ways,
            "You also let a linear layer in the *file* pass where the model wants a 1×1 convolution. Only the other "
            "direction is allowed: a 1×1 convolution in the file, a linear layer in the model.",
        ),
        Wrong(
            "ones-behind-any-shape",
            load_any_with_ones,
            "You let (1, 1) follow any shape. A linear layer has two sizes; (C, 1, 1) does not fit a bias (C,).",
        ),
        Wrong(
            "squeezed",
            load_squeezed,
            "You took *all* ones out of the file's shape. A layer with one output, (1, C), has a 1 that belongs to "
            "it: then it fits (C,), but not (1, C). Only (1, 1) at the end may be left out, behind two sizes.",
        ),
        Wrong(
            "squeezed-or-same",
            load_squeezed_or_same,
            "You took *all* ones out of the file's shape where it does not fit at once. So (1, C) fits (C,), and "
            "(1, C, 1, 1) does not fit (1, C). Only (1, 1) at the end may be left out, behind two sizes.",
        ),
        Wrong(
            "both-squeezed",
            load_both_squeezed,
            "You took *all* ones out of both shapes. So (1, C) fits (C,), and a linear layer a 1×1 convolution. Only "
            "(1, 1) at the end of the file's shape may be left out, where the model wants two sizes.",
        ),
        Wrong("names-only", load_without_shapes, "You compared the names only; the shapes can differ, too."),
        Wrong(
            "not-sorted",
            load_not_sorted,
            "The names are right, but not sorted. Use sorted(…): a report should not depend on the order in a file.",
        ),
        Wrong(
            "missing-twice",
            load_missing_is_misshapen,
            "What is missing appears among the misshapen as well. A shape is only compared where a name is in both.",
        ),
        Wrong(
            "unknown-twice",
            load_unknown_is_misshapen,
            "What is unknown appears among the misshapen as well. A shape is only compared where a name is in both.",
        ),
        Wrong(
            "all-twice",
            load_all_is_misshapen,
            "What is missing or unknown appears among the misshapen as well. A shape is only compared where a name "
            "is in both.",
        ),
    ),
    right=(load_by_loop, load_by_filter),
)


# ── The schedule's file ──────────────────────────────────────────────────────────────────────────────


def config_cases(generator: Generator) -> list[Call]:
    """A scheduler_config.json, as a dictionary."""

    def config(name: str, T: int, **more) -> dict:
        start = uniform(0.001, 0.01, generator)
        return {
            "beta_schedule": name,
            "num_train_timesteps": T,
            "beta_start": start,
            "beta_end": start + uniform(0.01, 0.1, generator),
            **more,
        }

    def without(given: dict, *keys: str) -> dict:
        return {key: value for key, value in given.items() if key not in keys}

    calls = [
        config("linear", 3),
        config("scaled_linear", 4),
        config("scaled_linear", 100, steps_offset=1),
        without(config("linear", 3), "beta_start"),
        without(config("scaled_linear", 5), "beta_end"),
        {"beta_schedule": "scaled_linear", "num_train_timesteps": 7},
        config("squaredcos_cap_v2", 6),
        config("sigmoid", 5),
        config("linear", 50),
    ]
    return [Call((given,)) for given in calls]


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
    return config_right(config | {"beta_schedule": "linear"})


def config_always_scaled(config):
    return config_right(config | {"beta_schedule": "scaled_linear"})


def config_both_linear(config):
    return by_name(config, forward_diffusion.linear_betas, forward_diffusion.linear_betas)


def config_ends_as_a_pair(config):
    ends = config.keys() & {"beta_start", "beta_end"}
    return config_right(config if len(ends) == 2 else {key: config[key] for key in config.keys() - ends})


def config_cosine_made(config):
    if config["beta_schedule"] == "squaredcos_cap_v2":
        return forward_diffusion.cosine_betas(config["num_train_timesteps"])
    return config_right(config)


def config_squared_without_roots(config):
    linear = forward_diffusion.linear_betas
    return by_name(config, lambda *given: linear(*given) ** 2, linear)


def config_end_missing(config):
    return config_right(config | {"num_train_timesteps": config["num_train_timesteps"] + 1})[:-1]


def config_alpha(config):
    return 1 - config_right(config)


def config_alpha_bar(config):
    return (1 - config_right(config)).cumprod(0)


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
    name="betas_from_config",
    title="A schedule from its file",
    stars=1,
    minutes=10,
    answer=config_right,
    cases=config_cases,
    hints=(
        "Two names, two formulas: β in equal steps, or √β in equal steps and squared.",
        'config.get("beta_start", 0.0001): the file may leave out what is the default.',
        "Any other name: raise a ValueError, do not guess.",
    ),
    insight="A wrong schedule raises no error: the network is told a t whose noise it does not see, and the pictures "
    'are only somewhat bad. CompVis\' files say "linear" for what diffusers calls "scaled_linear".',
    wrong=(
        Wrong(
            "linear-of-compvis",
            config_as_in_compvis,
            'You made "linear" scaled, too. That is CompVis\' meaning of the word; in diffusers\' files "linear" '
            "is β itself.",
        ),
        Wrong(
            "names-swapped", config_swapped, 'The two names are exchanged: "scaled_linear" is where √β rises linearly.'
        ),
        Wrong("should-refuse", config_anything_goes),
        Wrong(
            "cosine-made",
            config_cosine_made,
            'You accept "squaredcos_cap_v2". diffusers knows it, but this function is to know the two linear ones '
            "only: raise a ValueError for any other name.",
        ),
        Wrong(
            "name-ignored",
            config_name_ignored,
            "beta_schedule is not read: β rises linearly in all of your schedules, whatever their name is.",
        ),
        Wrong(
            "always-scaled",
            config_always_scaled,
            "beta_schedule is not read: √β rises linearly in all of your schedules, whatever their name is.",
        ),
        Wrong(
            "both-linear",
            config_both_linear,
            'Both names give β in equal steps; "scaled_linear" is √β in equal steps. If you ask whether '
            '"linear" is *in* the name: it is in "scaled_linear", too. Compare with ==.',
        ),
        Wrong(
            "squared-without-roots",
            config_squared_without_roots,
            'For "scaled_linear" you squared β. Take the roots of both ends first: the steps are equal in √β, and '
            "its square is β again.",
        ),
        Wrong(
            "not-squared",
            config_not_squared,
            'For "scaled_linear" you return √β. It rises linearly, as it should; square it.',
        ),
        Wrong(
            "end-missing",
            config_end_missing,
            "Your schedule stops one step before beta_end. Both ends are included, as in torch.linspace(start, end, "
            "T).",
        ),
        Wrong("alpha-returned", config_alpha, "You return α = 1 - β. β itself is asked for."),
        Wrong(
            "alpha-bar-returned",
            config_alpha_bar,
            "You return ᾱ, the product of all 1 - β so far. β itself is asked for.",
        ),
        Wrong(
            "defaults-of-stable-diffusion",
            config_of_stable_diffusion,
            "Where the file leaves the ends out you took Stable Diffusion's. The *format's* defaults are 0.0001 and "
            "0.02; a file that means others says so.",
        ),
        Wrong(
            "ends-ignored",
            config_fixed_ends,
            "beta_start and beta_end are not read: you always take Stable Diffusion's.",
        ),
        Wrong(
            "ends-as-a-pair",
            config_ends_as_a_pair,
            'Where one end is absent you take the default for both. Each has its own: config.get("beta_start", '
            "0.0001), and likewise the other.",
        ),
    ),
    right=(config_by_powers, config_by_loop),
)


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
    name="head_width",
    title="Predict: a number that means another",
    stars=1,
    minutes=6,
    answer=width_right,
    cases=no_inputs,
    hints=(
        "Count: the projections to q, k and v are 1280 wide, and are split among the heads.",
        "What if the 8 were the *number* of heads?",
        "1280 / 8",
    ),
    insight="160. The field is misnamed: in Stable Diffusion 1 it holds the number of heads, 8 at every level, so "
    "heads are 40, 80 and 160 wide. Stable Diffusion 2 made all heads 64 wide, and its file says 5, 10, 20, "
    "20: heads again.",
    wrong=(
        Wrong(
            "by-its-name",
            width_by_name,
            "So it is called, but the name is wrong, and kept for the sake of old files. With heads 8 wide there "
            "would be 160 of them.",
        ),
        Wrong("stable-diffusion-2", width_of_two, "64 is the width of a head in Stable Diffusion 2; this is 1."),
        Wrong(
            "first-level",
            width_of_first_level,
            "That is 320 / 8, the highest level. The question is about 1280 channels.",
        ),
        Wrong(
            "second-level",
            width_of_second_level,
            "That is 640 / 8, the second level. The question is about 1280 channels.",
        ),
        Wrong("all-heads", width_of_all, "That is all heads together."),
    ),
    right=(width_by_division, width_by_counting),
)


EXERCISES = (PACKAGE_KEY, LOAD_PROBLEMS, BETAS_FROM_CONFIG, HEAD_WIDTH)
