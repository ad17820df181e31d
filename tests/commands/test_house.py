"""What stands in two places of the repository says the same in both, and what a machine reads can be read."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

import tinyldm

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def bounds(requirements: list[str]) -> dict[str, str]:
    """Name of a package -> the bound behind it: {"torch": ">=2.5"}."""
    return {re.match(r"[\w.-]+", text)[0]: re.sub(r"^[\w.-]+(\[.*\])?", "", text) for text in requirements}


def pins() -> dict[str, str]:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


# ── The version ──────────────────────────────────────────────────────────────────────────────────────


def test_the_version_is_written_once():
    """`tinyldm --version` reads it too: see test_cli.py."""
    assert "version" not in PROJECT["project"] and PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "tinyldm.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", tinyldm.__version__)


def test_the_citation_and_the_changelog_have_the_same_version_and_date():
    citation = yaml.safe_load(read("CITATION.cff"))
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", read("CHANGELOG.md"), re.MULTILINE)
    assert citation["version"] == newest[1] == tinyldm.__version__
    assert str(citation["date-released"]) == newest[2]
    assert citation["license"] == PROJECT["project"]["license"].split(" AND ")[0] == "MIT"  # of the code


# ── Dependencies ─────────────────────────────────────────────────────────────────────────────────────


def test_conda_installs_what_pip_installs():
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = bounds(project["dependencies"] + extras["notebooks"] + extras["test"])
    wanted["pytorch"] = wanted.pop("torch")
    listed = yaml.safe_load(read("environment.yml"))["dependencies"]
    assert (
        bounds([text for text in listed if isinstance(text, str) and not text.startswith(("python=", "pip"))]) == wanted
    )
    assert {"pip": ["-e ."]} in listed


def test_every_pin_is_of_a_package_that_is_asked_for_and_keeps_its_bound():
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = bounds([text for group in groups for text in group])
    for name, version in pins().items():
        least = asked.get(name, "").removeprefix(">=")
        assert name in asked or name in ("scipy", "nbformat"), f"nothing asks for {name}"
        as_numbers = [tuple(map(int, text.split("."))) for text in (version, least) if text]
        assert as_numbers == sorted(as_numbers, reverse=True), f"{name}: {version} is below {least}"


# ── What machines read ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_is_yaml_with_jobs_that_have_steps(file):
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert workflow["name"] == file.stem and workflow["permissions"] == {"contents": "read"}
    assert True in workflow  # YAML 1.1 reads the key `on` as a truth value
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 150 and job["runs-on"]
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])


def test_the_fast_loop_runs_on_three_systems_and_three_pythons_and_the_rest_on_linux():
    fast, everything = (yaml.safe_load(read(f".github/workflows/{name}.yml")) for name in ("fast", "everything"))
    matrix = fast["jobs"]["core"]["strategy"]["matrix"]
    assert [name.split("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert PROJECT["project"]["requires-python"] == f">={matrix['python'][0]}"
    assert {"run": "python -m pytest"} in fast["jobs"]["core"]["steps"]
    assert {"run": ".ci/lint"} in fast["jobs"]["lint"]["steps"]
    assert {"run": ".ci/run"} in everything["jobs"]["everything"]["steps"]


def test_ci_lints_before_it_tests():
    lines = read(".ci/run").splitlines()
    assert ".ci/lint" in lines and "export CI=true" in lines
    assert [shlex.split(line)[0] for line in read(".ci/lint").splitlines()[-4:]] == [
        "ruff",
        "ruff",
        "codespell",
        "mypy",
    ]
    for script in ("run", "lint"):
        assert (ROOT / ".ci" / script).stat().st_mode & 0o100, f"chmod +x .ci/{script}"


def test_the_hooks_before_a_commit_are_the_tools_of_ci():
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    revisions = {entry["repo"].rsplit("/", 1)[-1]: entry.get("rev") for entry in hooks}
    assert revisions["ruff-pre-commit"] == f"v{pins()['ruff']}"
    assert revisions["codespell"] == f"v{pins()['codespell']}"
    subject = next(hook for entry in hooks for hook in entry["hooks"] if hook["id"] == "subject-length")
    assert not re.search(subject["entry"], "x" * 72 + "\n\n" + "y" * 100, re.MULTILINE)
    assert re.search(subject["entry"], "x" * 73 + "\n\nbody", re.MULTILINE)


def test_no_file_names_a_room_that_is_gone():
    """Two packages took the place of one. Grading alone still knows what submissions of before import."""
    gone = re.compile(r"tinyldm[/.](workshop|course|checkpoints)\b")
    texts = {*ROOT.glob("*.md"), *ROOT.glob("exercises/*.md")} - {ROOT / "CHANGELOG.md"}
    for room in ("tinyldm", "tinyldm_course", "sources", "benchmarks", "tests"):
        texts |= {file for kind in ("py", "md") for file in ROOT.glob(f"{room}/**/*.{kind}")}
    named = {str(file.relative_to(ROOT)) for file in texts if gone.search(file.read_text(encoding="utf-8"))}
    assert {name for name in named if "grad" not in name} == set()


def test_contributing_names_files_that_exist():
    named = re.findall(
        r"`((?:tinyldm|tinyldm_course|tests|sources|exercises|benchmarks|\.ci)/[\w./]*)`", read("CONTRIBUTING.md")
    )
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_types_ship_with_both_packages():
    for name in ("tinyldm", "tinyldm_course"):
        assert (ROOT / name / "py.typed").is_file()
        assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"][name]
