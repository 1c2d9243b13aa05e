#!/usr/bin/env bash
# Create the virtual environment $VENV with $PYTHON where there is none, and install the locked versions and
# this project into it. Called by `make setup`. Whatever goes wrong ends in one sentence.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
LOG=$VENV/install.log

fail() {
  echo "trot: $1" >&2
  exit 1
}

MINIMUM=$(sed -n 's/^requires-python = ">=\([0-9.]*\).*/\1/p' pyproject.toml)

# version_of PYTHON: print it, such as 3.11; fails where that is no Python that runs
version_of() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# supported VERSION: is it at least $MINIMUM?
supported() {
  [ "${1%%.*}" -gt "${MINIMUM%%.*}" ] || { [ "${1%%.*}" -eq "${MINIMUM%%.*}" ] && [ "${1#*.}" -ge "${MINIMUM#*.}" ]; }
}

create() {
  local version output clear=()
  version=$(version_of "$PYTHON") ||
    fail "'$PYTHON' does not run; install Python $MINIMUM or newer, or name one: make setup PYTHON=/path/to/python3."
  supported "$version" ||
    fail "'$PYTHON' is Python $version, but $MINIMUM or newer is needed; name one: make setup PYTHON=/path/to/python3."
  "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "'$PYTHON' lacks the venv module; install it (Debian and Ubuntu: apt install python$version-venv) and run again."
  # Only what is a virtual environment already is emptied, never another folder of that name.
  [ ! -e "$VENV/pyvenv.cfg" ] || clear=(--clear)
  echo "Creating $VENV with Python $version"
  output=$("$PYTHON" -m venv ${clear[@]+"${clear[@]}"} "$VENV" 2>&1) || {
    { mkdir -p "$VENV" && echo "$output" >"$LOG"; } 2>/dev/null || fail "cannot write to $VENV."
    fail "the environment $VENV could not be created; $LOG says why."
  }
}

# install WHAT ARGUMENTS...: pip install, its output in the log
install() {
  local what=$1 reason
  shift
  "$VENV/bin/python" -m pip install --no-input --disable-pip-version-check "$@" >>"$LOG" 2>&1 || {
    reason=$(sed -n 's/^ERROR: *\(.*[^:]\)$/\1/p' "$LOG" | tail -n 1 | cut -c 1-160)
    # pip itself reports an index that is out of reach as a missing version.
    ! grep -q 'Retrying (Retry' "$LOG" || reason="the package index cannot be reached"
    fail "installing $what failed${reason:+ (${reason%.})}; $LOG has the details."
  }
}

"$VENV/bin/python" -m pip --version >/dev/null 2>&1 || create
version=$(version_of "$VENV/bin/python")
supported "$version" || fail "$VENV has Python $version, but $MINIMUM or newer is needed; delete $VENV and run again."

echo "Installing the versions in requirements.lock into $VENV (a few minutes the first time; log: $LOG)"
{ : >"$LOG"; } 2>/dev/null || fail "cannot write to $VENV."
install "the dependencies" -r requirements.lock
# The lock holds the build tool too, so nothing more is fetched for this step.
install "the project" --no-build-isolation --no-deps -e .
echo "Ready: $VENV"
