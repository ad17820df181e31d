"""What a process does to itself before it meets what a student wrote: give up everything that it does not need.

    python -c "…" PLACE SETTINGS     PLACE: the folder that holds both packages; SETTINGS: JSON, from `sandbox.py`

It imports neither PyTorch nor anything else that starts threads, as the kernel's walls bind one thread and its
children. When all walls stand, it hands over to the module that the settings name. A wall that was promised and does
not stand ends the process before that.
"""

import base64
import importlib
import json
import os
import signal
import sys
from pathlib import Path

from tinyldm_course.grading import kernel, limits


def main() -> None:
    """The command line is one JSON object."""
    run(json.loads(sys.argv[1]))


def run(settings: dict) -> None:
    """Confine this process, then run a module's `main`."""
    os.umask(0o077)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or the time of children that have ended is not counted
    confine(settings)
    importlib.import_module(settings["module"]).main(*settings["arguments"])


def confine(settings: dict) -> None:
    """Raise all walls. Raises OSError if one that was promised does not stand."""
    promised = settings["promised"]
    if promised:
        kernel.require_one_thread()
    if settings["user"] is not None:
        limits.switch_user(settings["user"])
    kernel.control(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)  # after `switch_user`, which would undo it
    missing = limits.set_limits(limits.Limits(**settings["limits"]))
    if promised and missing:
        raise OSError(f"no limit could be set on {', '.join(missing)}")
    program = base64.b64decode(settings["filter"])
    for wall, needed in (
        (kernel.drop_rights, promised),
        (kernel.leave_keyring, promised),
        (lambda: kernel.lock_files(Path(settings["folder"]), settings["readable"]), settings["landlock"]),
        (lambda: kernel.filter_calls(program), promised),
        (kernel.require_no_rights, promised),
    ):
        try:
            wall()
        except OSError:
            if needed:
                raise


if __name__ == "__main__":
    main()
