"""Properties that hold for any input: what hypothesis tries to refute, for files and for command lines."""

import argparse
import json
import math
import string
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from tinyldm.cli import options, output, pages
from tinyldm.clip import TextConfig
from tinyldm.data.metadata import captions_of
from tinyldm.formats.diffusers_unet import LARGEST_UNET, unet_config_from_diffusers, unet_config_to_diffusers
from tinyldm.formats.diffusers_vae import LARGEST_VAE, vae_config_from_diffusers, vae_config_to_diffusers
from tinyldm.formats.files import explained, read_json
from tinyldm.formats.schedulers import FOLLOWED, NEAREST, Sampling, landings, sampling_from_diffusers
from tinyldm.formats.text_encoders import LARGEST_CLIP, config_from
from tinyldm.reverse_diffusion import trailing
from tinyldm.training.run import drop_lines_after, read_log
from tinyldm.versions import SD1

pytestmark = pytest.mark.filterwarnings("ignore")
few = settings(max_examples=60, deadline=None, derandomize=True, database=None)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 100),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=9),
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def changed(known: dict, keys) -> st.SearchStrategy[dict]:
    """A configuration with a few entries that are anything at all."""
    return st.dictionaries(st.sampled_from(sorted(keys)), json_values, max_size=3).map(lambda odd: known | odd)


# ── Configurations: understood, or refused with the file's name ──────────────────────────────────────

UNET = unet_config_to_diffusers(SD1.unet, 64)
VAE = vae_config_to_diffusers(SD1.vae, 512)
KEYS = {key for family in (*FOLLOWED.values(), *NEAREST.values()) for key in (*family.defaults, *family.fixed)}


def understood(read, content) -> object | None:
    """What is read from a configuration; None where a ValueError names the file."""
    try:
        with explained(Path("a/file.json")):
            return read(content)
    except ValueError as error:
        assert type(error) is ValueError and "a/file.json" in str(error) and len(str(error)) < 1000
        return None


@few
@given(changed(UNET, UNET))
def test_any_configuration_of_a_unet(content):
    config = understood(unet_config_from_diffusers, content)
    if config is not None:
        assert (
            len(config.channels) <= 8 and max(config.transformer_depth) <= LARGEST_UNET["transformer_layers_per_block"]
        )
        assert config.blocks_per_level <= LARGEST_UNET["layers_per_block"]


@few
@given(changed(VAE, VAE))
def test_any_configuration_of_a_vae(content):
    config = understood(vae_config_from_diffusers, content)
    if config is not None:
        assert 0 < config.scale < math.inf and config.blocks_per_level <= LARGEST_VAE["layers_per_block"]


@few
@given(changed(asdict(SD1.text[0]), {*LARGEST_CLIP, "hidden_act", "layer_norm_eps", "pad_token_id", "num_channels"}))
def test_any_configuration_of_a_clip(content):
    config = understood(lambda content: config_from(content, TextConfig), content)
    if config is not None:
        assert all(1 <= getattr(config, name) <= most for name, most in LARGEST_CLIP.items() if hasattr(config, name))
        assert config.hidden_size % config.num_attention_heads == 0


@few
@given(st.sampled_from([*FOLLOWED, *NEAREST, "nope"]), changed({}, KEYS))
def test_any_configuration_of_a_scheduler(name, content):
    sampling = understood(sampling_from_diffusers, content | {"_class_name": name})
    if sampling is not None:
        assert isinstance(sampling, Sampling) and sampling.schedule.alpha_bar.isfinite().all()


@few
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_as_json(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_bytes(content)
    try:
        assert isinstance(read_json(file), dict)
    except ValueError as error:
        assert type(error) is ValueError and str(file) in str(error)


# ── Logs and captions ────────────────────────────────────────────────────────────────────────────────

entries = st.lists(st.fixed_dictionaries({"step": st.integers(0, 99), "loss": st.floats(allow_nan=False)}), max_size=6)


@few
@given(entries, st.binary(max_size=40).filter(lambda rest: b"\n" not in rest), st.integers(0, 99))
def test_whole_lines_of_a_log_are_kept(tmp_path_factory, lines, rest, step):
    """Whatever follows them, such as half a line."""
    file = tmp_path_factory.getbasetemp() / "any.log.jsonl"
    file.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode() + b"\xff" + rest)
    assert read_log(file) == lines
    drop_lines_after(file, step)
    assert read_log(file) == [line for line in lines if line["step"] <= step]
    before = file.read_bytes()
    drop_lines_after(file, step)
    assert file.read_bytes() == before and (not before or before.endswith(b"\n"))


@few
@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5), st.booleans())
def test_captions_come_back(tmp_path_factory, texts, ascii_only):
    folder = tmp_path_factory.mktemp("captions", numbered=True)
    rows = [
        json.dumps({"file_name": f"{i}.png", "text": text}, ensure_ascii=ascii_only) for i, text in enumerate(texts)
    ]
    (folder / "metadata.jsonl").write_bytes("\n".join(rows).encode("utf-8", "surrogatepass"))
    assert captions_of(folder) == [(f"{i}.png", text.strip()) for i, text in enumerate(texts)]


@few
@given(st.binary(max_size=80), st.sampled_from(["jsonl", "csv"]))
def test_any_bytes_as_captions(tmp_path_factory, content, ending):
    folder = tmp_path_factory.mktemp("captions", numbered=True)
    (folder / f"metadata.{ending}").write_bytes(content)
    try:
        assert all(isinstance(name, str) for name, _ in captions_of(folder))
    except ValueError as error:
        assert type(error) is ValueError and str(folder) in str(error)


# ── Command lines and pages ──────────────────────────────────────────────────────────────────────────

TYPES = {
    "whole_number": options.whole_number(0, 2**63 - 1),
    "finite_number": options.finite_number,
    "positive_number": options.positive_number,
    "fraction": options.fraction,
    "size": options.size,
    "box": options.box,
    "caption": options.caption,
}
texts = st.one_of(
    st.text(max_size=30),
    st.text("0123456789.,x-+eE_ infan", max_size=12),
    st.integers(-(10**40), 10**40).map(str),
    st.floats().map(str),
)


@few
@given(st.sampled_from(sorted(TYPES)), texts)
def test_any_text_as_an_option(name, text):
    """Is a value in its range, or a short message."""
    try:
        value = TYPES[name](text)
    except argparse.ArgumentTypeError as error:
        assert len(str(error)) < 300
        return
    numbers = value if isinstance(value, tuple) else () if isinstance(value, str) else (value,)
    assert all(math.isfinite(number) and number < 2**63 or name == "finite_number" for number in numbers)


@few
@given(st.text(max_size=200))
def test_any_message_is_one_line(text):
    line = output.one_line(text)
    assert len(line.splitlines()) <= 1 and line.isprintable() and len(line) <= output.MAX_LINE + 2


@few
@given(st.text(string.ascii_letters + " -", max_size=300), st.integers(20, 300), st.integers(1, 5))
def test_any_caption_is_wrapped(text, width, most):
    """Into lines that fit, which begin as the text does; all of it, where it fits."""
    font = ImageFont.load_default(12)
    start = time.process_time()
    lines = pages.wrapped(text, font, width, most)
    assert time.process_time() - start < 2 and len(lines) <= most
    assert all(font.getlength(line) <= width for line in lines)
    joined, letters = "".join(lines).replace(" ", ""), "".join(text.split())
    assert joined == letters or joined.endswith("…") and letters.startswith(joined[:-1])


@few
@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 1000))
def test_each_step_lands_a_stride_below(T, steps, last):
    steps = min(steps, T)
    ts = trailing(steps, T)
    assert landings(ts, T) == [t - T // steps for t in ts.tolist()]
    part = landings(ts[-last:], T)  # the end of a walk: at most one number of steps too few is taken for it
    assert len(part) == min(last, steps) and all(
        abs(a - b) <= max(1, T // steps) for a, b in zip(part, landings(ts, T)[-last:])
    )
