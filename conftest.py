"""One thread for each of pytest-xdist's workers, and for the kernels and commands that they start.

Two workers with two threads each on two cores spend most of their time waiting for each other: the whole suite took
over 90 minutes so, and a fifth of that with one thread each. Set before torch is imported, as torch reads it then.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
