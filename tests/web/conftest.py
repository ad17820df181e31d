"""The exported page of the shipped model, made once for all tests of this room."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from facts import WEB, write_facts
from filelock import FileLock

from tinyldm import LatentDiffusion
from tinyldm.formats.places import SHIPPED
from tinyldm.web.site import export_site, snapshots_of


@pytest.fixture(scope="session")
def tiny() -> LatentDiffusion:
    return LatentDiffusion.from_pretrained()


@pytest.fixture(scope="session")
def site(tiny, tmp_path_factory) -> Path:
    """The page of the shipped model, with the first of its snapshots. Workers of pytest-xdist share it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, first = base / "site", dict(list(snapshots_of(SHIPPED / "tiny").items())[:1])
    with FileLock(base / "site.lock"):
        if not folder.is_dir():
            list(export_site(tiny, base / "unfinished", "tiny", first))
            (base / "unfinished").rename(folder)
    return folder


@pytest.fixture(scope="session")
def facts(tiny, tmp_path_factory) -> Path:
    """What Python computes: see facts.py."""
    file = tmp_path_factory.mktemp("facts") / "facts.json"
    write_facts(tiny, file)
    return file


@pytest.fixture
def run_node(site, facts) -> Callable[[str], None]:
    """Run one file of `web/test` in Node, and fail with what it says."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")

    def run(name: str, site: Path = site, facts: Path = facts) -> None:
        environment = os.environ | {"SITE": str(site), "FACTS": str(facts)}
        command = [node, "--test", f"test/{name}"]
        done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2000:]

    return run
