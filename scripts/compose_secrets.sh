#!/usr/bin/env bash
# Makes what docker-compose.yaml reads from files: new random secrets, and a connections.json to add your systems to. What
# is there stays, so it can run again.
#
#   compose_secrets.sh [FOLDER]      default: ./secrets
set -euo pipefail
folder=${1:-secrets}
umask 022 # containers read the files as other users; nobody else on this machine gets into the folder
mkdir -p "$folder"
chmod 700 "$folder"

keep() { # NAME: write standard input to the file, unless it is there
  if [ -e "$folder/$1" ]; then cat >/dev/null; else cat >"$folder/$1"; fi
}
random() { # BYTES: as hexadecimal digits, which need no quoting in a URL
  head -c "$1" /dev/urandom | od -An -vtx1 | tr -d ' \n'
}

for name in postgres_password ledger_password admin_password broker_password demo_password; do random 16 | keep "$name"; done
for name in api_secret_key jwt_secret; do random 32 | keep "$name"; done
head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' | keep fernet_key
printf 'postgresql+psycopg2://airflow:%s@postgres/airflow' "$(cat "$folder/postgres_password")" | keep airflow_database_url
printf 'redis://:%s@broker:6379/0' "$(cat "$folder/broker_password")" | keep broker_url

demo=$(cat "$folder/demo_password")
keep connections.json <<JSON
{
  "upkeep_ledger": {"conn_type": "postgres", "host": "postgres", "port": 5432, "login": "upkeep", "password": "$(cat "$folder/ledger_password")", "schema": "upkeep"},
  "kindergarten_mysql": {"conn_type": "mysql", "host": "kindergarten-mysql", "port": 3306, "login": "upkeep", "password": "$demo", "schema": "kindergarten"},
  "kindergarten_scratch": {"conn_type": "mysql", "host": "kindergarten-scratch", "port": 3306, "login": "upkeep", "password": "$demo"},
  "kindergarten_redis": {"conn_type": "redis", "host": "demo-redis", "port": 6379, "password": "$demo"},
  "chronoretrace_postgres": {"conn_type": "postgres", "host": "chronoretrace-postgres", "port": 5432, "login": "upkeep", "password": "$demo", "schema": "chronoretrace"},
  "chronoretrace_scratch": {"conn_type": "postgres", "host": "chronoretrace-scratch", "port": 5432, "login": "upkeep", "password": "$demo", "schema": "postgres"},
  "chronoretrace_redis": {"conn_type": "redis", "host": "demo-redis", "port": 6379, "password": "$demo"}
}
JSON
echo "secrets are in $folder; sign in as admin with the password in $folder/admin_password"
