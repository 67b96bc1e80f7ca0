#!/usr/bin/env bash
# The source archive holds everything: it is made, a wheel is built from it alone, and a quick part of its tests runs
# against that wheel. In .venvs/sdist, with the libraries of .venv (or of the environment of $PYTHON).
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
work=$PWD/.venvs/sdist
rm -rf "$work"
mkdir -p "$work/copy"

# build HOOK: setuptools makes the archive or the wheel of the current folder, and its name is printed. It leaves
# build/ and *.egg-info, and what lies there already would get into the next one: hence the copies.
build() {
    "$python" -c "import setuptools.build_meta as backend; backend.build_$1('$work')" >"$work/$1.log" 2>&1 || {
        cat "$work/$1.log" >&2
        return 1
    }
}

git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- | tar -x -C "$work/copy"
(cd "$work/copy" && build sdist)
tar -xf "$work"/qatkit-*.tar.gz -C "$work"
cd "$work"/qatkit-*/
missing=$(cd "$work/copy" && find . -type f -not -path './*.egg-info/*' | sort | while read -r path; do
    [ -e "$OLDPWD/$path" ] || echo "$path"
done)
[ -z "$missing" ] || { echo "the source archive lacks: $missing" >&2; exit 1; }

build wheel
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-index --target "$work/site" "$work"/*.whl
mv qatkit "$work/qatkit-source" # so that the tests find the wheel
export PYTHONPATH=$work/site TF_CPP_MIN_LOG_LEVEL=3 TF_USE_LEGACY_KERAS=1
"$python" -m pytest -p no:cacheprovider tests/test_layers.py tests/test_files.py \
    tests/graph tests/spec/test_walk.py tests/report/test_page.py
"$python" -m qatkit --version
echo "$(basename "$work"/*.tar.gz): complete; the wheel made of it passes"
