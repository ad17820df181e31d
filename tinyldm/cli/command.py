"""What a command is. A package that brings commands of its own needs this file, `options` and `output`."""

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple, NoReturn

from tinyldm.cli.output import one_line

Run = Callable[[argparse.Namespace], None]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, one_line(f"{self.prog}: {message}; see {self.prog} --help") + "\n")


class Command(NamedTuple):
    """One command of the program."""

    help: str  # "generate pictures for a caption"
    examples: tuple[str, ...]
    add_options: Callable[[Parser], None]
    run: Run  # raises ValueError or OSError, with one line to show, for a user's mistake


def imported_later(module: str, function: str) -> Run:
    """A function that is imported when it is called, so that no command waits for the libraries of another."""

    def run(options: argparse.Namespace) -> None:
        getattr(import_module(module), function)(options)

    return run
