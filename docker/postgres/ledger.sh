#!/bin/bash
# Runs once, when the volume is new: a database of its own for Upkeep's ledger, so that airflow db clean never meets it.
set -euo pipefail
password=$(cat /run/secrets/ledger_password)
psql --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<SQL
CREATE ROLE upkeep LOGIN PASSWORD '$password';
CREATE DATABASE upkeep OWNER upkeep;
SQL
