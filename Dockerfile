# Airflow with Upkeep inside, and every client program that Upkeep calls. Build: docker compose build
#
# MySQL's and MariaDB's clients have files of the same names, so MySQL's are unpacked beside the others and UPKEEP_PATH
# leads there; Upkeep picks by the server's flavour. PostgreSQL's come in every release that is supported, because a dump
# is made by the server's own (plugins/upkeep/engines/tools.py says why).
ARG AIRFLOW_VERSION=3.3.2
ARG PYTHON_VERSION=3.12

FROM apache/airflow:${AIRFLOW_VERSION}-python${PYTHON_VERSION} AS wheel
COPY --chown=airflow:0 . /tmp/upkeep
WORKDIR /tmp/upkeep
RUN pip install --no-cache-dir --constraint constraints.txt hatchling \
 && python -m hatchling build --target wheel --directory /tmp/wheel

FROM apache/airflow:${AIRFLOW_VERSION}-python${PYTHON_VERSION}
ARG AIRFLOW_VERSION
# MySQL 8 servers with mysql_native_password accounts need a client older than 9. For MySQL 9: mysql-innovation.
ARG MYSQL_COMPONENT=mysql-8.4-lts
ARG POSTGRES_RELEASES="14 15 16 17 18"

USER root
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN codename=$(. /etc/os-release && echo "$VERSION_CODENAME") \
 && export DEBIAN_FRONTEND=noninteractive \
 # No service of redis-server may start while it is installed.
 && printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d \
 && apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates curl gnupg \
 && curl -fsSL https://www.postgresql.org/media/keys/ACCC4CF8.asc -o /usr/share/keyrings/pgdg.asc \
 && echo "deb [signed-by=/usr/share/keyrings/pgdg.asc] https://apt.postgresql.org/pub/repos/apt $codename-pgdg main" \
      >/etc/apt/sources.list.d/upkeep-pgdg.list \
 && curl -fsSL https://repo.mysql.com/RPM-GPG-KEY-mysql-2025 | gpg --dearmor -o /usr/share/keyrings/mysql.gpg \
 && echo "deb [signed-by=/usr/share/keyrings/mysql.gpg] https://repo.mysql.com/apt/debian $codename $MYSQL_COMPONENT" \
      >/etc/apt/sources.list.d/upkeep-mysql.list \
 && apt-get update \
 && mapfile -t postgres < <(printf 'postgresql-client-%s\n' $POSTGRES_RELEASES) \
 && apt-get install --yes --no-install-recommends \
      "${postgres[@]}" mariadb-client redis-tools redis-server zstd age tar util-linux lynis nmap \
 # Unpacked, not installed: the package conflicts with MariaDB's.
 && mkdir /tmp/mysql && cd /tmp/mysql \
 && apt-get download mysql-community-client-core mysql-community-client mysql-community-client-plugins \
 && for package in *.deb; do dpkg-deb --extract "$package" /opt/mysql; done \
 && rm -rf /opt/mysql/usr/share /tmp/mysql \
 # What can't run here must fail here, not in the night.
 && /opt/mysql/usr/bin/mysqldump --version && /opt/mysql/usr/bin/mysql --version \
 && mariadb-dump --version && zstd --version && age --version && redis-check-rdb --version && setpriv --version \
 && for release in $POSTGRES_RELEASES; do "/usr/lib/postgresql/$release/bin/pg_dump" --version; done \
 && apt-get purge --yes --auto-remove gnupg \
 && rm -rf /var/lib/apt/lists/* /etc/apt/sources.list.d/upkeep-*.list /usr/sbin/policy-rc.d \
 # A named volume takes over owner and mode of the folder it is first mounted on.
 && install -d -m 700 -o airflow -g 0 /backup /var/spool/upkeep \
 && install -d -m 755 /opt/upkeep/sites

USER airflow
COPY --from=wheel /tmp/wheel /tmp/wheel
COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir --compile --constraint /tmp/constraints.txt \
      "apache-airflow==${AIRFLOW_VERSION}" /tmp/wheel/*.whl \
 && python -m compileall -q "$(python -c 'import upkeep; print(upkeep.__path__[0])')" \
 && upkeep check

ENV UPKEEP_PATH=/opt/mysql/usr/bin \
    UPKEEP_SITES=/opt/upkeep/sites \
    AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST='[{"name": "upkeep", "classpath": "upkeep.operators.dag_bundle.UpkeepDagBundle", "kwargs": {}}]' \
    AIRFLOW__CORE__LOAD_EXAMPLES=False
