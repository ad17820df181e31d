"""`tinyldm trace`: what it shows is what happens."""

import ast
import re

import pytest
import torch
from small_folder import save_small_folder
from small_models import make_model

from tinyldm import reverse_diffusion, trace
from tinyldm.cli import main as cli
from tinyldm.versions import SDXL

PACKAGE_ROOT = trace.PACKAGE.parent


@pytest.fixture(scope="module")
def traced():
    """The small model beside Stable Diffusion: (pairs, picture)."""
    return trace.compare_with_stable_diffusion(make_model(), "a red circle", steps=3)


@pytest.fixture(scope="module")
def found(traced) -> dict[str, trace.Pair]:
    return {pair.node.name: pair for pair in trace.every(traced[0])}


def test_the_shapes_of_the_article(found):
    """Stable Diffusion's column, on the meta device, has the shapes that the article names."""
    expected = {
        "tokens": (1, 77),
        "context": (1, 77, 768),
        "z_T": (1, 4, 64, 64),
        "unet.z_t": (2, 4, 64, 64),
        "z0": (1, 4, 64, 64),
        "image": (1, 3, 512, 512),
        "image in [0, 1]": (1, 3, 512, 512),
        "unet.middle": (2, 1280, 8, 8),
    }
    assert {name: found[name].theirs for name in expected} == expected


def test_every_layer_of_both_networks_is_there(found):
    """All that a forward hook sees on the way is in the list, with the shape that the hook sees."""
    model, seen = make_model(), {}

    def note(name, output):
        seen.setdefault(name, tuple((output[0] if isinstance(output, tuple) else output).shape))

    for root in ("unet", "vae"):
        for name, module in getattr(model, root).named_modules(prefix=root):
            if not isinstance(module, trace.PASSES_THROUGH):
                module.register_forward_hook(lambda module, inputs, output, name=name: note(name, output))
    model.generate(["a red circle"], steps=3)
    assert len(seen) > 100
    assert seen == {name: found[name].ours for name in seen}


def test_all_symbols_occur(found):
    """Nothing in the list of functions has been renamed or is no longer called."""
    unused = {sampler.__name__ for sampler in trace.SAMPLERS} - {"ddim"}
    made = {pair.node.kind for pair in found.values()}
    assert all(f"{code.co_name}()" in made for code in trace.SYMBOLS if code.co_name not in unused)
    assert trace.BLOCKS <= made


@pytest.mark.parametrize("sampler", trace.SAMPLERS)
def test_every_sampler_can_be_traced(sampler):
    nodes, _ = trace.trace(make_model(), "a red circle", steps=2, sampler=sampler)
    assert [node.kind for node in nodes if node.name == "z0"] == [f"{sampler.__name__}()"]
    assert {"z0_hat", "eps_hat", "z_next"} <= {node.name for node in nodes}


def test_file_and_line_are_where_it_is_made(found):
    """Each line exists, is code, and is inside the function that it is said to be in."""
    for pair in found.values():
        node = pair.node
        assert node.source and not node.source.startswith(("#", '"""')), node
        if node.kind.endswith("()"):
            tree = ast.parse((PACKAGE_ROOT / node.file).read_text(encoding="utf-8"))
            functions = [part for part in ast.walk(tree) if getattr(part, "name", "") == node.kind[:-2]]
            assert any(part.lineno < node.line <= part.end_lineno for part in functions), node
    assert found["unet.conv_in"].node.source.startswith("x = self.conv_in(z_t)")
    assert found["unet.down.0.resblocks.0"].node.source == "return self.shortcut(x) + h"
    assert found["unet.z_t"].node.source == "return self.unet(z_t, t, context, added)"


def test_the_articles_sections(found):
    expected = {
        "tokens": "Architecture",
        "context": "Architecture",
        "unet.conv_in": "U-Net",
        "z0": "Training and inference",
        "unet.down.0.transformers.0": "U-Net",
        "vae.decoder": "Variational Autoencoder",
        "vae.decoder.middle.resblock1": "Variational Autoencoder",
        "image": "Variational Autoencoder",
    }
    assert {name: found[name].node.section for name in expected} == expected
    assert "outside the article" not in {pair.node.section for pair in found.values()}


def test_attention_reads_words(found):
    cross = "unet.down.0.transformers.0.blocks.0.cross_attention."
    assert found[cross + "q"].ours == (2, 2, 16, 8) and found[cross + "k"].ours == (2, 2, 12, 8)
    assert found[cross + "k"].theirs == (2, 8, 77, 40)


def test_how_often(found):
    assert found["unet"].node.times == found["z_next"].node.times == 3
    assert found["text_encoder"].node.times == found["tokens"].node.times == 2  # the caption, and the empty one
    assert found["z_T"].node.times == found["vae.decoder"].node.times == 1


def test_tracing_changes_nothing(traced):
    model = make_model()
    plain = model.generate(["a red circle"], steps=3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain, traced[1])


def test_what_one_model_lacks(found):
    assert found["unet.down.3.resblocks.0"].ours is None and found["unet.down.3.resblocks.0"].theirs == (2, 1280, 8, 8)
    assert found["unet.up.0.transformers.0"].theirs is None  # Stable Diffusion's lowest level does not attend


@pytest.mark.slow
def test_stable_diffusion_xl_on_the_meta_device(small_model):
    nodes, _ = trace.trace(
        trace.on_meta(SDXL, small_model.text_encoder.tokenizer),
        "a red circle",
        steps=25,
        sampler=trace.first_step_of(reverse_diffusion.ddim),
    )
    shapes = {node.name: node.shape for node in nodes}
    assert shapes["context"] == (1, 77, 2048) and shapes["added"] == (1, 2816) and shapes["z0"] == (1, 4, 128, 128)


def test_pairs_keep_both_orders():
    def nodes(names):
        return [trace.Node(name, "Conv2d", "tinyldm/unet.py", 1, "U-Net", (1,)) for name in names]

    assert [pair.node.name for pair in trace.paired(nodes("acde"), nodes("abce"))] == list("abcde")
    assert [pair.node.name for pair in trace.paired(nodes("b"), nodes("ab"))] == list("ab")


@pytest.mark.parametrize("everything", [False, True])
def test_the_table_fits(traced, everything):
    text = trace.table(traced[0], "tiny", everything)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120 and "…" not in text
    number = len(list(trace.every(traced[0])))
    assert (sum(":" in line for line in lines) - 1 == number) == everything  # without the head
    for row in ("§ U-Net", "tokens ×2", "(1, 77, 768)", "cross_attention", "unet.py:"):
        assert row in text


def test_the_page_stands_alone(traced):
    page = trace.page(traced[0], "a <red> circle & co", traced[1][0], "tiny")
    assert "a &lt;red&gt; circle &amp; co" in page and "<red>" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page and 'alt="' in page
    assert page.count('class="row"') == len(list(trace.every(traced[0])))
    assert page.count("<details") == page.count("</details>") and page.count("<div") == page.count("</div>")


def test_the_command(tmp_path, capsys):
    folder, out = save_small_folder(tmp_path / "model"), tmp_path / "new" / "trace.html"
    assert (
        cli.main(["trace", "a red ring", "--model", str(folder), "--steps", "2", "--device", "cpu", "--html", str(out)])
        == 0
    )
    said = capsys.readouterr()
    assert "z_T" in said.out and f"wrote {out}" in said.out and not said.err
    assert "a red ring" in out.read_text(encoding="utf-8")


def test_mistakes(tmp_path, capsys):
    assert cli.main(["trace", "a ring", "--model", str(tmp_path)]) == 2
    assert "is not a model folder" in capsys.readouterr().err
    assert cli.main(["trace", "a ring", "--html", str(tmp_path / "page.pdf")]) == 2
    assert "ends in .html" in capsys.readouterr().err
