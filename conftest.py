"""What pytest runs here: bare `pytest` the core, within a minute; a path that you name, all of it; `--all`, everything.

With `CI=true` in the environment a test that skips itself fails the run, unless `tests/skips.toml` gives the reason.
"""

import fnmatch
import os
import tomllib
from pathlib import Path

import pytest

# One thread for each of pytest-xdist's workers, and for the kernels and commands that they start. Two workers with two
# threads each on two cores wait for each other: the whole suite took over 90 minutes, and 14 with one thread each
# (2026-11-27, AMD EPYC). Set before torch is imported, which reads it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

EVERYTHING = ("tests", "notebooks")
PROCESSES = 2  # of bare `pytest`; `pytest -n 0` runs it in one
CELL_TIMEOUT = 900.0  # seconds; a lesson's longest cell trains a network


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all`."""
    parser.addoption("--all", action="store_true", help="run all tests, slow ones too, and every cell of the notebooks")


def paths_are_named(config: pytest.Config) -> bool:
    """Does the command line say which tests to run?"""
    return config.args_source is pytest.Config.ArgsSource.ARGS


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the option in the same hook
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share the core between two processes, unless somebody wants to watch or to stop in one."""
    option = config.option
    watched = option.usepdb or option.capture == "no" or option.collectonly
    if paths_are_named(config) or option.all or watched or hasattr(config, "workerinput"):
        return
    if getattr(option, "numprocesses", 0) is None:
        option.numprocesses = PROCESSES


def pytest_configure(config: pytest.Config) -> None:
    """Choose what runs. Workers of pytest-xdist read the same command line, and choose the same."""
    named = paths_are_named(config)
    if config.option.all:
        run_everything(config, named)
    elif not named and not config.option.markexpr:
        config.option.markexpr = "not slow"
    if os.environ.get("CI") == "true" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(NoUnlistedSkips(config.rootpath / "tests" / "skips.toml"))


def run_everything(config: pytest.Config, named: bool) -> None:
    """All rooms, or all of the named ones; each lesson is run from a fresh kernel.

    Outputs are compared where a cell has the tag nbval-check-output.
    """
    if not config.pluginmanager.hasplugin("nbval"):
        raise pytest.UsageError("--all runs the notebooks with nbval: pip install -c constraints.txt -e '.[test]'")
    config.option.nbval_lax = True
    config.option.nbval_cell_timeout = CELL_TIMEOUT
    if not named:
        config.args[:] = [str(config.rootpath / room) for room in EVERYTHING]


class NoUnlistedSkips:
    """Fails a run in which a test skipped itself for no reason that the list gives.

    Attributes:
        allowed: pattern of test names -> why these may be skipped.
        unlisted: lines about the others.
    """

    def __init__(self, file: Path) -> None:
        self.allowed: dict[str, str] = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self.unlisted: list[str] = []

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Remember a skipped test or file."""
        if report.skipped and not hasattr(report, "wasxfail"):
            if not any(fnmatch.fnmatch(report.nodeid, pattern) for pattern in self.allowed):
                reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
                self.unlisted.append(f"{report.nodeid}: {reason}")

    pytest_runtest_logreport = pytest_collectreport = note

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run."""
        if self.unlisted and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which, and what to do."""
        if self.unlisted:
            terminalreporter.section("skipped, and not in tests/skips.toml", red=True)
            terminalreporter.line("Make them run here, or add them to tests/skips.toml with the reason:")
            for line in self.unlisted:
                terminalreporter.line(line)
