"""One thread for each of pytest-xdist's workers, and for the kernels and commands that they start.

Two workers with two threads each on two cores spend most of their time waiting for each other: the whole suite took
over 90 minutes so, and 14 with one thread each (2026-11-27, AMD EPYC). Set before torch is imported, which reads it.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
