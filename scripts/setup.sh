#!/usr/bin/env bash
# Makes .venv with every package in the version that constraints.txt names, and installs the servers and tools that the
# tests and the demo start (Debian, Ubuntu). Running it again changes only what is missing or outdated.
#
#   PYTHON=/path/to/python3.12 bash scripts/setup.sh    picks the interpreter
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin" # where Debian keeps mariadbd; not on everybody's PATH

say() { echo "setup: $*"; }
fail() {
  echo "setup: $1" >&2
  echo "HINT: $2" >&2
  exit 1
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    fits "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13" "name another, or leave PYTHON unset"
    echo "$PYTHON"
    return
  fi
  local name
  for name in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if fits "$name"; then
      echo "$name"
      return
    fi
  done
  fail "no Python 3.11, 3.12 or 3.13 found" "apt-get install python3.11 (or newer), or: make setup PYTHON=/path/to/python3"
}

# The Debian package of a program, when the program isn't there. Servers run as an account of their own under root.
missing() { # PROGRAM PACKAGE [ACCOUNT]
  if ! command -v "$1" >/dev/null || { [ "$(id -u)" = 0 ] && [ -n "${3:-}" ] && ! id "$3" >/dev/null 2>&1; }; then
    echo "$2"
  fi
}

missing_packages() { # PYTHON
  missing mariadbd mariadb-server mysql
  if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then missing initdb postgresql postgres; fi
  missing redis-server redis-server redis
  missing redis-check-rdb redis-tools
  missing zstd zstd
  missing age age
  missing jq jq # two tests read the ledger with stock tools only
  missing sqlite3 sqlite3
  missing lynis lynis # the scanners that the month's tests run on loopback
  missing nmap nmap
  if ! "$1" -c 'import ensurepip, venv' 2>/dev/null; then
    "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
  fi
}

install_missing() { # PYTHON
  local packages as_root=()
  mapfile -t packages < <(missing_packages "$1" | sort -u)
  if [ ${#packages[@]} = 0 ]; then
    say "servers and tools: all there"
    return
  fi
  say "missing Debian packages: ${packages[*]}"
  command -v apt-get >/dev/null ||
    fail "this machine has no apt-get" "install what these packages hold by other means, then run make setup again"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
      fail "installing them needs root, and there is no sudo" "as root: apt-get install --no-install-recommends ${packages[*]}"
    as_root=(sudo)
  fi
  say "installing them with apt-get; no server among them is started"
  "${as_root[@]}" bash scripts/apt_install.sh "${packages[@]}"
}

has_venv() { # [PYTHON]: whether .venv works, and has that interpreter's release
  fits .venv/bin/python && [ -x .venv/bin/pip ] && { [ -z "${1:-}" ] || [ "$(.venv/bin/python -V)" = "$("$1" -V)" ]; }
}

install_python_packages() {
  local uv
  uv=$(grep '^uv==' constraints.txt)
  if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "${uv#uv==}" ]; then
    say "installing $uv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$uv"
  fi
  say "installing Airflow and the other Python packages"
  # Compiled once here: where PYTHONDONTWRITEBYTECODE is set, every task would compile Airflow again.
  VIRTUAL_ENV=$PWD/.venv UV_COMPILE_BYTECODE=1 .venv/bin/uv pip install --quiet \
    --constraints constraints.txt --build-constraints constraints.txt --editable '.[dev]'
}

if [ -z "${PYTHON:-}" ] && has_venv; then python=.venv/bin/python; else python=$(find_python); fi
install_missing "$python"
if ! has_venv "$python"; then
  say "making .venv with $("$python" -V)"
  "$python" -m venv --clear .venv
fi
install_python_packages
touch .venv/ready
say "done: $(.venv/bin/python -V), Airflow $(.venv/bin/python -c 'from importlib.metadata import version as v; print(v("apache-airflow"))')"
