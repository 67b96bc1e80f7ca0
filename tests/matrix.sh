#!/usr/bin/env bash
# A quick part of the tests in one environment per version that pyproject.toml promises:
#     bash tests/matrix.sh                    # all of ALL
#     bash tests/matrix.sh 3.10-lowest 3.13   # some; X.Y-lowest: every dependency in the lowest version allowed
# A Python that is not there fails; with --if-found as the first argument, or where none is named, it is only reported.
# It is looked for in $PYTHONXY (PYTHON310=/a/python), as pythonX.Y on PATH, and where pyenv and uv keep theirs.
# Environments lie in .venvs, what pip and pytest say in .venvs/NAME.log. The newest versions are those of the day an
# environment was made: rm -r .venvs for those of today.
set -euo pipefail
cd "$(dirname "$0")/.."

ALL=(3.10 3.11 3.12 3.13 3.10-lowest)
# Train, prune, quantization-aware training, export and INT8 through the command line, and what touches a library.
QUICK=(
    tests/test_imports.py tests/cli/test_workflow.py tests/engine tests/export/test_onnx_model.py tests/export/test_qdq.py
    tests/model/test_file.py tests/model/test_hdf5.py tests/dataset/test_images.py
    tests/dataset/test_picture_file.py tests/dataset/test_records.py tests/spec/test_load.py
    tests/detectnet/test_clustering.py tests/report
)
# Without trainings and random files that show nothing new of a library.
SLOW='test_comparison or with_a_teacher or frozen_blocks or not_repeated or a_model_error or loaded_or_refused'
SHOWN=(tensorflow onnxruntime numpy protobuf onnx)
ROW='%-12s %-8s %-11s %-12s %-8s %-9s %-8s %-10s %7s\n'

main() {
    local name rows='' failed=0 missing_fails=1
    if [ $# -eq 0 ] || [ "$1" = --if-found ]; then
        missing_fails=0
    fi
    [ "${1:-}" != --if-found ] || shift
    [ $# -gt 0 ] || set -- "${ALL[@]}"
    check_names "$@"
    mkdir -p .venvs
    for name in "$@"; do
        local outcome=passed start=$SECONDS python
        if ! python=$(find_python "${name%-lowest}"); then
            outcome='not found'
            echo "!!! $name is NOT TESTED: there is no Python ${name%-lowest} here" >&2
            failed=$((failed | missing_fails))
        elif ! check "$name" "$python" >".venvs/$name.log" 2>&1; then
            outcome=failed
            failed=1
            tail -n 100 ".venvs/$name.log"
        fi
        rows+=$(row "$name" "$outcome" $((SECONDS - start)))$'\n'
    done
    # shellcheck disable=SC2059
    printf "\n$ROW%s" environment Python "${SHOWN[@]}" result seconds "$rows"
    return $failed
}

check_names() {
    local name
    for name in "$@"; do
        [[ $name =~ ^3\.[0-9]+(-lowest)?$ ]] || { echo "unknown environment $name; all: ${ALL[*]}" >&2; exit 2; }
    done
}

# find_python 3.10: the path of such an interpreter that can make environments.
find_python() {
    local variable=PYTHON${1/./} candidate
    for candidate in "${!variable:-}" "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python \
        "$(uv python find "$1" 2>/dev/null)"; do
        if is_python "$candidate" "$1"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

is_python() {
    [ -n "$1" ] && "$1" -c "import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '$2')" 2>/dev/null
}

# check NAME PYTHON: the tests in an environment that is made first where it is not there yet.
check() {
    local warnings=()
    echo "== $1: installing" >&3
    install "$1" "$2" || return
    echo "== $1: testing" >&3
    # The lowest versions warn of each other: an old matplotlib of the pyparsing of today.
    [[ $1 != *-lowest ]] || warnings=(-W default)
    TF_CPP_MIN_LOG_LEVEL=3 TF_USE_LEGACY_KERAS=1 ".venvs/$1/bin/python" -m pytest -p no:cacheprovider \
        --durations=15 "${warnings[@]}" -k "not ($SLOW)" "${QUICK[@]}"
}

# install NAME PYTHON: only when a dependency changed since.
install() {
    local folder=.venvs/$1 stamp
    stamp=$folder/.installed-$(dependencies | cksum | cut -d' ' -f1)
    [ ! -e "$stamp" ] || return 0
    rm -rf "$folder"
    "$2" -m venv "$folder" || return
    : >"$folder/pins.txt"
    [[ $1 != *-lowest ]] || dependencies | lowest >"$folder/pins.txt"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$folder/pins.txt" \
        --editable '.[train]' pytest hypothesis || return
    touch "$stamp"
}

# The requirements of pyproject.toml, without those of the build.
dependencies() {
    sed -n '/^dependencies/,$p' pyproject.toml | grep -oE '"[a-z0-9-]+(\[[a-z-]+\])?>=[^"]+"'
}

# Lower bounds as pins.
lowest() {
    grep -oE '^"[a-z0-9-]+>=[0-9.]+' | sed 's/^"//; s/>=/==/'
}

# row NAME OUTCOME SECONDS
row() {
    local versions
    versions=$(versions "$1" 2>/dev/null) || versions=$(printf -- '- %.0s' Python "${SHOWN[@]}")
    # shellcheck disable=SC2059,SC2086
    printf "$ROW" "$1" $versions "$2" "$3"
}

versions() {
    ".venvs/$1/bin/python" -c 'if True:
        import platform, sys
        from importlib.metadata import version
        print(platform.python_version(), *map(version, sys.argv[1:]))' "${SHOWN[@]}"
}

# Progress is shown, the rest is kept in the logs.
main "$@" 3>&1
