"""The page about scaling and its files for clusters say what the program understands."""

import argparse
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tinyldm.cli import options as parsing

DOCS = Path(__file__).parents[2] / "docs"
PAGE, SLURM, KUBERNETES = DOCS / "scaling.md", DOCS / "cluster" / "train.slurm", DOCS / "cluster" / "train.yaml"


def parsed(command: str) -> argparse.Namespace:
    """The options of what follows `-m tinyldm train` in a command."""
    words = shlex.split(command.replace("…", "").replace("\\\n", " "), comments=True)
    parser = argparse.ArgumentParser(exit_on_error=False)
    parsing.add_train(parser)
    return parser.parse_args(words)


def test_every_command_on_the_page_is_understood():
    commands = re.findall(r"^    .*?tinyldm train (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) >= 7
    for command in commands:
        parsed(command)


def test_the_slurm_file():
    text = SLURM.read_text(encoding="utf-8")
    command = re.search(r"-m tinyldm train (.*?)\n'", text, re.DOTALL)[1]
    options = parsed(command)
    assert options.resume and options.batch % (4 * 8 * options.accumulate) == 0
    if bash := shutil.which("bash"):
        subprocess.run([bash, "-n", str(SLURM)], check=True)


def test_the_kubernetes_file():
    yaml = pytest.importorskip("yaml")
    service, job = yaml.safe_load_all(KUBERNETES.read_text(encoding="utf-8"))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (command,) = container["args"]
    options = parsed(command.partition("-m tinyldm train ")[2])
    machines, processes = (int(re.search(rf"--num_{name} (\d+)", command)[1]) for name in ("machines", "processes"))
    assert machines == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert processes == machines * container["resources"]["limits"]["nvidia.com/gpu"]
    assert options.resume and options.batch % (processes * options.accumulate) == 0
    assert pod["subdomain"] == service["metadata"]["name"] and f"{job['metadata']['name']}-0" in command
