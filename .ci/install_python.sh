#!/bin/sh
# Creates .venv and installs the project with its development tools at the pinned versions.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
# Python compiles the modules that are used when they are first imported; all twenty thousand take more than a minute.
install=".venv/bin/python -m pip --disable-pip-version-check install -q --no-compile"

"$python" -c 'import sys; sys.exit("setup: Python 3.10 or newer is needed, found " + sys.version if sys.version_info < (3, 10) else 0)'
[ -x .venv/bin/python ] || "$python" -m venv .venv

# The CPU build of torch where pip's indexes have it (PIP_EXTRA_INDEX_URL may name PyTorch's index of CPU wheels): the default
# build on Linux brings gigabytes of CUDA libraries that nothing here uses.
torch=$(sed -n 's/^torch==//p' constraints.txt)
installed=$(.venv/bin/python -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null || true)
if [ "${installed%%+*}" != "$torch" ]; then
  if [ "$(uname -s)" = Linux ]; then
    $install "torch==$torch+cpu" 2>/dev/null || $install "torch==$torch"
  else
    $install "torch==$torch"
  fi
fi
$install -c constraints.txt -e '.[dev]'
