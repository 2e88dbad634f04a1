#!/usr/bin/env bash
# Writes constraints.txt: one version of every package, for all of Python 3.11 to 3.13. Names and versions only, so that
# it says nothing about where it was resolved.
set -euo pipefail
cd "$(dirname "$0")/.."
new=$(mktemp)
trap 'rm -f "$new"' EXIT

{
  echo "# What make setup installs, for Python 3.11 to 3.13. Made by: make constraints"
  # mysqlclient is overridden away in pyproject.toml; uv lists it all the same.
  .venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-emit-index-url --no-annotate \
    --no-header --no-emit-package mysqlclient --extra dev --extra celery --group build pyproject.toml
} >"$new"
if changes=$(diff constraints.txt "$new"); then
  echo "constraints: nothing newer"
else
  grep '^[<>]' <<<"$changes"
fi
cat "$new" >constraints.txt
