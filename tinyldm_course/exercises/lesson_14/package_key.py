"""Exercise package_key of lesson 14: A table of names."""

import re

from torch import Generator

from tinyldm.formats.diffusers_unet import DIFFUSERS_UNET
from tinyldm.formats.weights import rename
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer


def package_key(key):
    """The name of a weight of diffusers' U-Net, translated as in the table above.  key: a string -> a string."""
    ### BEGIN SOLUTION
    table = [  # the special before the general
        ("mid_block.resnets.0", "middle.resblock1"),
        ("mid_block.attentions.0", "middle.transformer"),
        ("mid_block.resnets.1", "middle.resblock2"),
        ("down_blocks", "down"),
        ("up_blocks", "up"),
        ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"),
        ("resnets", "resblocks"),
        ("attentions", "transformers"),
        ("transformer_blocks", "blocks"),
        ("attn1", "self_attention"),
        ("attn2", "cross_attention"),
        ("to_out.0", "to_out"),
        ("conv_shortcut", "shortcut"),
    ]
    for old, new in table:
        key = key.replace(old, new)
    return key
    ### END SOLUTION


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


def key_in_parts(key: str) -> str:
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
    return rename(key, DIFFUSERS_UNET)


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


def key_without(*left_out):
    """A wrong answer that knows all rules but these."""
    return lambda key: replaced(key, tuple(rule for rule in RULES if rule[0] not in left_out))


def not_renamed(*words: str) -> Wrong:
    """Some words of the table stay as they are."""
    theirs = " and ".join(f'"{word}"' for word in words)
    ours = " and ".join(f'"{new}"' for old, new in RULES if old in words)
    name = "-".join(word.replace(".", "-").replace("_", "-") for word in words) + "-kept"
    stay, rules = ("stay", "their rules") if len(words) > 1 else ("stays", "its rule")
    return Wrong(name, key_without(*words), f"{theirs} {stay} in your names. The table says {ours}: {rules} missing?")


NOT_RENAMED = (
    ("down_blocks",),
    ("up_blocks",),
    ("down_blocks", "downsamplers.0"),
    ("up_blocks", "upsamplers.0"),
    ("downsamplers.0",),
    ("upsamplers.0",),
    ("downsamplers.0", "upsamplers.0"),
    ("mid_block.resnets.0",),
    ("mid_block.resnets.1",),
    ("resnets",),
    ("attentions",),
    ("resnets", "attentions"),
    ("transformer_blocks",),
    ("attn1",),
    ("attn2",),
    ("attn1", "attn2"),
)


def key_downsample_counted(key):
    return replaced(key, with_rule("downsamplers.0", "downsample.0"))


def key_upsample_counted(key):
    return replaced(key, with_rule("upsamplers.0", "upsample.0"))


def key_transformer_counted(key):
    return replaced(key, with_rule("mid_block.attentions.0", "middle.transformers.0"))


def key_resblocks_counted(key):
    for number in (0, 1):
        key = key.replace(f"mid_block.resnets.{number}", f"middle.resblocks.{number}")
    return replaced(key, RULES)


def key_norm_renamed(key):
    return replaced(key, RULES).replace("conv_norm_out", "norm_out")


def key_time_renamed(key):
    return replaced(key, RULES).replace("time_emb_proj", "time_proj")


def key_norm_and_time_renamed(key):
    return key_time_renamed(key_norm_renamed(key))


def key_without_conv(key):
    return replaced(key, RULES).replace("conv_", "")


def key_by_the_package(key):
    stay = ("time_embedding", "add_embedding", "conv_norm_out", ".time_emb_proj", ".ff.")
    return rename(key, [rule for rule in DIFFUSERS_UNET if not rule[0].startswith(stay)])


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


EXERCISE = Exercise(
    name="package_key",
    title="A table of names",
    stars=2,
    minutes=15,
    answer=package_key,
    cases=key_cases,
    hints=(
        "A list of pairs (theirs, ours), and a loop: for old, new in table: key = key.replace(old, new).",
        'The order matters: "mid_block.resnets.0" must be replaced before "resnets" is.',
        'Most numbers stay. The zeros in "downsamplers.0", "upsamplers.0" and "to_out.0" go with their words.',
    ),
    insight="Thirty such lines are all that separates two libraries: the numbers in the tensors are the same. The "
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
            "You stop after the first rule that fits. Several apply to one name: return after the loop.",
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
            'The 0 of "downsamplers.0" and "upsamplers.0" stays in your names. There is never more than one in a '
            "level, so here it has no number.",
        ),
        Wrong(
            "attention-swapped",
            key_attention_swapped,
            "attn1 and attn2 are swapped. attn1 comes first in a block: it is the pixels' self-attention; attn2 "
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
            '"mid_block" stays before the ResBlocks: the rules for "mid_block.resnets.0" and "….1" are missing, or '
            'come after the one for "resnets", when it is too late to find them. Put them first.',
        ),
        Wrong(
            "attentions-before-middle",
            key_attentions_first,
            '"mid_block" stays before the transformer: the rule for "mid_block.attentions.0" is missing, or comes '
            'after the one for "attentions", when it is too late to find it. Put it first.',
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
        Wrong(
            "downsample-0-kept",
            key_downsample_counted,
            'The 0 of "downsamplers.0" stays in your names. There is never more than one in a level, so here it '
            "has no number.",
        ),
        Wrong(
            "upsample-0-kept",
            key_upsample_counted,
            'The 0 of "upsamplers.0" stays in your names. There is never more than one in a level, so here it has'
            " no number.",
        ),
        Wrong(
            "middle-transformer-counted",
            key_transformer_counted,
            "In the middle there is one transformer, and it has no number here: middle.transformer.",
        ),
        Wrong(
            "middle-resblocks-counted",
            key_resblocks_counted,
            "In the middle the two ResBlocks have names here, not numbers: resblock1 and resblock2.",
        ),
        Wrong(
            "norm-out-renamed", key_norm_renamed, "You also rename conv_norm_out. The table does not name it: it stays."
        ),
        Wrong("time-renamed", key_time_renamed, "You also rename time_emb_proj. The table does not name it: it stays."),
        Wrong(
            "norm-and-time-renamed",
            key_norm_and_time_renamed,
            "You also rename conv_norm_out and time_emb_proj. The table does not name them: they stay.",
        ),
        Wrong(
            "every-conv-removed",
            key_without_conv,
            'You removed every "conv_": conv_in and conv_norm_out lose it, too. Replace the whole word '
            '"conv_shortcut".',
        ),
        *(not_renamed(*words) for words in NOT_RENAMED),
    ),
    right=(key_in_parts, key_by_the_package, key_by_parts),
)
