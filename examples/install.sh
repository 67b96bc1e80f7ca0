#!/usr/bin/env bash
# Make .venv beside this folder and install qatkit into it, for training too: bash examples/install.sh ['.[dev]']
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-.[train]}
# Only when something changed since: an installed environment starts at once, and needs no network.
stamp=.venv/.installed-$(printf '%s' "$what" | cksum | cut -d' ' -f1)
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$what"
    touch "$stamp"
fi
