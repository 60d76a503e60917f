#!/usr/bin/env bash
# Make .venv and install Accord into it with the given extras: tools/setup.sh weights
# A second call returns at once unless pyproject.toml, TORCH_INDEX or the folder's own path changed.
#   PYTHON       interpreter to use (default: python3 if it is 3.11 or newer, else python3.13, 3.12, 3.11)
#   TORCH_INDEX  package index that pip takes torch and torchvision from (default: pip's own)
set -euo pipefail
cd "$(dirname "$0")/.."

extras="$1"
here="$(pwd -P)"
stamp=".venv/.accord-${extras}"
wanted="${here} $(cksum <pyproject.toml) ${TORCH_INDEX:-}"

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    set -- python3 python3.13 python3.12 python3.11
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    fi
    for candidate in "$@"; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "no Python 3.11 or newer among: $*; install one, or name it: make PYTHON=/path/to/python3" >&2
    return 1
}

make_venv() {
    local python
    python="$(find_python)"
    echo "making .venv with $("$python" --version)"
    # A folder that was moved or copied has scripts and an editable install that point to the old place.
    if ! "$python" -m venv ${1:+"$1"} .venv; then
        echo "$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2
        return 1
    fi
    echo "$here" >.venv/.accord-path
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi
if [ ! -f .venv/.accord-path ]; then
    make_venv
elif [ "$(cat .venv/.accord-path)" != "$here" ]; then
    make_venv --clear
fi

echo "installing accord[${extras}] into .venv"
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
if [ -n "${TORCH_INDEX:-}" ]; then
    "${pip[@]}" torch torchvision --index-url "$TORCH_INDEX"
fi
"${pip[@]}" --editable ".[${extras}]"
echo "$wanted" >"$stamp"
