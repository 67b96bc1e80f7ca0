#!/usr/bin/env bash
# Lint, types and tests, in a virtual environment that this script makes. Arguments go to pytest.
# COVERAGE=1: prints at the end which lines and branches of qatkit the tests reach (up to twice the time).
set -euo pipefail
cd "$(dirname "$0")/.."
bash examples/install.sh '.[dev]'
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
export TF_CPP_MIN_LOG_LEVEL=3 TF_USE_LEGACY_KERAS=1
run=(-m pytest)
[ -z "${COVERAGE:-}" ] || run=(-m coverage run "${run[@]}")
.venv/bin/python "${run[@]}" --durations=15 "$@"
[ -z "${COVERAGE:-}" ] || .venv/bin/python -m coverage report
