#!/usr/bin/env bash
# Lint, types and tests, in a virtual environment that this script makes. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash examples/install.sh '.[dev]'
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
export TF_CPP_MIN_LOG_LEVEL=3 TF_USE_LEGACY_KERAS=1
.venv/bin/python -m pytest --durations=15 "$@"
