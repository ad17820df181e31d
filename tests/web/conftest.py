"""The exported page of the shipped model, made once for all tests of this room."""

import contextlib
import io
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from facts import WEB, write_facts
from filelock import FileLock
from small_models import SMALL_UNET, SMALL_VAE, make_model

from tinyldm import VAE, LatentDiffusion, euler
from tinyldm.cli.main import main
from tinyldm.formats.places import SHIPPED
from tinyldm.reverse_diffusion import leading
from tinyldm.web.site import export_site, snapshots_of, students_of


@pytest.fixture(scope="session")
def tiny() -> LatentDiffusion:
    return LatentDiffusion.from_pretrained()


@pytest.fixture(scope="session")
def site(tiny, tmp_path_factory) -> Path:
    """The page of the shipped model, with its first snapshot and its student. Workers of pytest-xdist share it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, first = base / "site", dict(list(snapshots_of(SHIPPED / "tiny").items())[:1])
    students = students_of(SHIPPED / "tiny")
    with FileLock(base / "site.lock"):
        if not folder.is_dir():
            list(export_site(tiny, base / "unfinished", "tiny", first, students))
            (base / "unfinished").rename(folder)
    return folder


def other_model() -> LatentDiffusion:
    """Latents (5, 4, 8) of images 16×32: factor 4, five channels, no square, another vocabulary, weights no float16."""
    model = make_model(replace(SMALL_UNET, in_channels=5, out_channels=5), vision=False)
    config = replace(SMALL_VAE, channels=(8, 16, 16), latent_channels=5)
    model.vae, model.image_size = VAE(config).eval().requires_grad_(False), (16, 32)
    model.spacing, model.sampler = leading, euler
    return model


@pytest.fixture(scope="session")
def other_site(tmp_path_factory) -> tuple[LatentDiffusion, Path]:
    """A model of other sizes, and its page as the command wrote it; what the command told is in told.txt beside it."""
    base = tmp_path_factory.mktemp("other")
    other_model().save_pretrained(base / "mine")
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert main(["export-web", str(base / "mine"), "--out", str(base / "site"), "--course", "../"]) == 0
    (base / "told.txt").write_text(told.getvalue())
    return LatentDiffusion.from_pretrained(base / "mine"), base / "site"


@pytest.fixture(scope="session")
def facts(tiny, tmp_path_factory) -> Path:
    """What Python computes: see facts.py."""
    file = tmp_path_factory.mktemp("facts") / "facts.json"
    write_facts(tiny, file)
    return file


@pytest.fixture(scope="session")
def other_facts(other_site) -> Path:
    """The same for the other model."""
    file = other_site[1].parent / "facts.json"
    with warnings.catch_warnings():  # it reads 10 pieces of a caption, and says what it cuts off
        warnings.filterwarnings("ignore", "only the first")
        write_facts(other_site[0], file)
    return file


@pytest.fixture(scope="session")
def run_node() -> Callable[[str, Path, Path], None]:
    """Run one file of `web/test` in Node on a page, and fail with what it says."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")

    def run(name: str, site: Path, facts: Path) -> None:
        environment = os.environ | {"SITE": str(site), "FACTS": str(facts)}
        command = [node, "--test", f"test/{name}"]
        done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2000:]

    return run
