#!/usr/bin/env bash
# The base installation, which has no TensorFlow: `pip install .` into .venvs/light, and what runs there is tested.
# rm -r .venvs/light for the versions of today.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.venvs/light
stamp=$folder/.installed-$(cksum <pyproject.toml | cut -d' ' -f1)
if [ -e "$stamp" ]; then
    what=(--no-deps --force-reinstall .) # the package as it is now
else
    what=(. pytest)
    rm -rf "$folder"
    "${PYTHON:-python3}" -m venv "$folder"
fi
rm -rf build/lib # or modules of an earlier build would be installed too
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${what[@]}"
touch "$stamp"
for module in tensorflow tf_keras tensorflow_model_optimization; do
    if "$folder/bin/python" -c "import $module" 2>/dev/null; then
        echo "$module came with pip install ." >&2
        exit 1
    fi
done
echo "pip install .: $(du -sm "$folder"/lib/python*/site-packages | cut -f1) MB with pytest and pip"
"$folder/bin/python" -m pytest -p no:cacheprovider tests/cli/test_without_tensorflow.py
