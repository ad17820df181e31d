#!/usr/bin/env bash
# Gradescope runs this once, when it builds the autograder's image.
set -euo pipefail
cd /autograder/source
apt-get update
apt-get install -y bubblewrap libseccomp2 python3-venv

# Python 3.11 or later: that of the image, or Ubuntu's own package of 3.11 beside an older one.
python=python3
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    apt-get install -y python3.11 python3.11-venv
    python=python3.11
fi
"$python" -m venv /autograder/venv

# The build of PyTorch without CUDA is a tenth of the size. For it, set TORCH_INDEX to the address that the selector on
# pytorch.org shows for Linux, pip and CPU.
/autograder/venv/bin/pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "@TORCH@"
/autograder/venv/bin/pip install -r requirements.txt
