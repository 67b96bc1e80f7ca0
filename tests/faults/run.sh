#!/usr/bin/env bash
# Trainings that are killed again and again, at any moment: about twenty minutes on two cores. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."
export TF_CPP_MIN_LOG_LEVEL=3 TF_USE_LEGACY_KERAS=1
exec .venv/bin/python -m pytest -s -m faults tests/faults "$@"
