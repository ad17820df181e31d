"""The networks as ONNX files give PyTorch's numbers, for the shipped model and for one of other sizes."""

import functools
import gzip
import hashlib
import json
import re
import shutil
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from facts import seeded
from small_models import make_model

from tinyldm import LatentDiffusion, versions
from tinyldm.cli.export_web import Handler
from tinyldm.cli.main import main
from tinyldm.formats.places import SHIPPED
from tinyldm.trace import on_meta
from tinyldm.web import onnx_export
from tinyldm.web import site as live_page
from tinyldm.web.onnx_export import UNetWithInsides

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def outputs_of(content: bytes, **inputs: torch.Tensor) -> list[np.ndarray]:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})


def largest_difference(found: list[np.ndarray], expected: tuple[torch.Tensor, ...]) -> float:
    assert [list(one.shape) for one in found] == [list(one.shape) for one in expected]
    return max(float(np.abs(one - other.numpy()).max()) for one, other in zip(found, expected, strict=True))


@pytest.fixture(params=["tiny", "other"])
def exported(request, other_site) -> tuple[LatentDiffusion, Path]:
    """A model and the folder with its files."""
    if request.param == "other":
        return other_site
    return request.getfixturevalue("tiny"), request.getfixturevalue("site")


@torch.no_grad()
def test_every_part_is_pytorchs_at_any_batch(exported):
    model, folder = exported
    latent = live_page.latent_of(model)
    read = {path.stem: path.read_bytes() for path in (folder / "model").glob("*.onnx")}
    for batch in (1, 3):
        count, length = model.text_encoder.tokenizer.bpe.get_vocab_size(), model.text_encoder.length
        tokens = torch.randint(0, count, (batch, length), generator=seeded(1))
        context = model.text_encoder(tokens)
        assert largest_difference(outputs_of(read["text_encoder"], tokens=tokens), (context,)) < 1e-5

        z = torch.randn(batch, *latent, generator=seeded(2))
        t = torch.linspace(1, 999, batch)
        unet = UNetWithInsides(onnx_export.in_float32(model.unet))
        found = outputs_of(read["unet"], z_t=z, t=t, context=context)
        assert largest_difference(found, unet(z, t, context)) < 1e-4
        assert largest_difference(found[:1], (model.unet(z, t, context),)) < 2e-5

        assert largest_difference(outputs_of(read["decoder"], z0=z), (model.vae.decode(z),)) < 2e-5
        image = torch.rand(batch, 3, *model.image_size, generator=seeded(3)) * 2 - 1
        posterior = model.vae.posterior(image)
        expected = torch.cat([posterior.mean, posterior.logvar], 1)
        assert largest_difference(outputs_of(read["encoder"], image=image), (expected,)) < 1e-4


def test_the_insides_are_named_in_order(exported):
    model, folder = exported
    insides = json.loads((folder / "model" / "model.json").read_text())["insides"]
    names = [inside["name"] for inside in insides]
    assert names[0] == "conv_in" and len(names) == len(set(names))
    blocks = [name for name, module in model.unet.named_modules() if isinstance(module, onnx_export.BLOCKS)]
    words = {name for name, module in model.unet.named_modules() if name.endswith("cross_attention")}
    assert set(names) == {"conv_in", *blocks, *words}
    transformer = {inside["name"]: inside["shape"] for inside in insides}
    for inside in insides:
        if inside["kind"] == "words":
            heads, pixels, length = inside["shape"]
            _, height, width = transformer[re.sub(r"\.blocks\.\d+\.cross_attention$", "", inside["name"])]
            assert (pixels, length) == (height * width, model.text_encoder.length)


def test_weights_that_are_float16_numbers_take_half_the_bytes(site, tiny):
    unet = (site / "model" / "unet.onnx").stat().st_size
    parameters = sum(weight.numel() for weight in tiny.unet.parameters())
    assert 2 * parameters < unet < 2.3 * parameters


def test_weights_that_are_none_are_kept(other_site):
    """The differences above are of this model, too: halving its weights would make them 1e-3."""
    model, folder = other_site
    parameters = sum(weight.numel() for weight in model.unet.parameters())
    assert (folder / "model" / "unet.onnx").stat().st_size > 4 * parameters


def test_no_file_tells_where_it_was_made(site):
    for file in (site / "model").rglob("*.onnx"):
        assert b"site-packages" not in file.read_bytes() and b".py" not in file.read_bytes(), file


def test_the_guards_are_back():
    with onnx_export.without_guards():
        pass
    with pytest.raises(ValueError):
        make_model().unet(torch.zeros(1, 3, 4, 4), torch.zeros(1))


# ── The folder ───────────────────────────────────────────────────────────────────────────────────────


def test_the_list_of_files_is_all_but_what_is_fetched_on_demand(site):
    listed = json.loads((site / "files.json").read_text())
    found = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert found - set(listed["files"]) == {
        "files.json",
        "model/on_demand/unet_at_01.onnx",
        "model/on_demand/unet_4_steps.onnx",
    }
    assert all((site / path).stat().st_size == size for path, size in listed["files"].items())


def test_the_student_is_listed_with_what_was_measured(site):
    (student,) = json.loads((site / "model" / "model.json").read_text())["students"]
    assert (student["steps"], student["file"]) == (4, "model/on_demand/unet_4_steps.onnx")
    assert student["bytes"] == (site / student["file"]).stat().st_size < 7e6
    card = (SHIPPED / "tiny" / "README.md").read_text(encoding="utf-8")
    shares = re.findall(r"([\d.]+) %", student["told"])
    assert len(shares) == 2
    for share in shares:
        assert f"| strict | {share} %" in card


def test_the_download_is_small(site):
    """15 MB compressed, as a web server sends it."""
    listed = json.loads((site / "files.json").read_text())["files"]
    total = sum(len(gzip.compress((site / path).read_bytes(), 6)) for path in listed)
    assert total < 15e6, f"{total / 1e6:.1f} MB"


def test_a_page_can_be_written_again_but_nothing_else_is_touched(tmp_path, site):
    (tmp_path / "thesis.txt").write_text("two years of work")
    with pytest.raises(ValueError, match="not a live page"):
        live_page.prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    again = tmp_path / "again"
    shutil.copytree(site, again)
    live_page.prepare(again)
    assert not list((again / "model").iterdir()) and (again / "index.html").is_file()


def test_the_runtime_is_what_its_list_says():
    folder = live_page.PAGE / "runtime"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_the_lines_shown_are_there(site):
    code = json.loads((site / "model" / "model.json").read_text())["code"]
    for piece, shown in code.items():
        lines = (ROOT / shown["file"]).read_text(encoding="utf-8").splitlines()
        first = shown["text"].splitlines()[0]
        assert lines[shown["line"] - 1].strip() == first.strip(), piece


def test_the_lessons_that_the_page_names_exist():
    text = (live_page.PAGE / "js" / "lessons.js").read_text(encoding="utf-8")
    named = re.findall(r'\["(\d\d_\w+)", "', text) + re.findall(r"notebooks/(\d\d_\w+)\.html", text)
    assert len(named) > 10
    assert {f"{name}.ipynb" for name in named} <= {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}


# ── The command ──────────────────────────────────────────────────────────────────────────────────────


def test_the_command_tells_what_it_wrote(other_site):
    _, folder = other_site
    told = (folder.parent / "told.txt").read_text()
    assert "model/unet.onnx" in told and f"python -m http.server --directory {folder}" in told
    content = json.loads((folder / "model" / "model.json").read_text())
    assert (content["name"], content["course"], content["snapshots"]) == ("mine", "../", [])
    assert content["words"] is None  # its vocabulary is not the small world's


def test_the_page_is_served_with_the_types_that_browsers_insist_on(tmp_path):
    (tmp_path / "a.mjs").write_text("export {};")
    (tmp_path / "a.wasm").write_bytes(b"")
    handler = functools.partial(Handler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        types = {}
        for name in ("a.mjs", "a.wasm"):
            with urlopen(f"http://127.0.0.1:{server.server_port}/{name}") as answer:
                types[name] = answer.headers["content-type"]
        server.shutdown()
    assert types == {"a.mjs": "text/javascript", "a.wasm": "application/wasm"}


def test_what_the_page_cannot_run_is_refused(tiny):
    xl = on_meta(versions.SDXL, tiny.text_encoder.tokenizer)
    with pytest.raises(ValueError, match="Stable Diffusion XL"):
        onnx_export.require_exportable(xl)


def test_without_the_extra_the_command_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tinyldm.cli.export_web.NEEDED", ("onnx_that_is_not_there",))
    assert main(["export-web", "tiny", "--out", str(tmp_path / "site")]) == 2
    assert "pip install 'tinyldm[web]'" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()
