"""`python -m tinyldm` is the command `tinyldm`."""

import sys

from tinyldm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
