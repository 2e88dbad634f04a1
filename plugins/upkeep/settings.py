"""Every environment variable and Airflow setting that Upkeep reads. Nothing else looks into the environment.

``upkeep config`` prints this list with what is set here; ``docs/configuration.md`` is made from it. What concerns one
system under care is not here but in its site file (``upkeep schema``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Variable:
    """One environment variable; ``default`` says in words what holds where it is not set, or empty."""

    name: str
    meaning: str
    default: str

    @property
    def value(self) -> str:
        """Empty where it is not set."""
        return os.environ.get(self.name, "").strip()


@dataclass(frozen=True)
class AirflowSetting:
    """An option of ``airflow.cfg`` that Upkeep relies on; ``use`` is what to set, and why."""

    section: str
    option: str
    use: str
    secret: bool = False

    @property
    def variable(self) -> str:
        return f"AIRFLOW__{self.section.upper()}__{self.option.upper()}"


SITES = Variable("UPKEEP_SITES", "folder of the site files, one `*.yaml` for each system under care", "the samples")
PROGRAMS = Variable(
    "UPKEEP_PATH",
    "folders, joined by colons, in which client programs (`mysqldump`, `pg_dump`, `age` ...) are looked for first",
    "only `PATH`",
)
PATH = Variable("PATH", "where client programs are looked for after `UPKEEP_PATH`", "the system's own")
HOME = Variable(
    "AIRFLOW_HOME",
    "holds the ledger `upkeep_ledger.db` where there is no connection `upkeep_ledger`",
    "`~/airflow`",
)
SUDO_USER = Variable(
    "SUDO_USER",
    "who runs the command line as root through `sudo`: the ledger's actor, and the approver of what `upkeep restore` "
    "and `upkeep migrate` change",
    "the account itself",
)
VARIABLES = (
    SITES,
    PROGRAMS,
    PATH,
    HOME,
    SUDO_USER,
    # Read by Python and by the Kubernetes client, not here.
    Variable("TMPDIR", "folder for what passes through a worker during restores and proofs", "`/tmp`"),
    Variable(
        "KUBECONFIG",
        "the cluster of a `kubernetes` connection that names none: neither `in_cluster`, `kube_config` or "
        "`kube_config_path` nor host and password. **An incomplete connection leads wherever this file does**",
        "`~/.kube/config`",
    ),
)

CONNECTION = "AIRFLOW_CONN_"
CONNECTION_MEANING = (
    "one for each connection id that a site file names, as JSON or URI. Airflow also takes connections from its own "
    "database and from secrets backends; the command line `upkeep` takes these variables and, after them, a file of "
    "connections (`[secrets] backend_kwargs`, below). `upkeep_ledger`, if "
    "set, is the ledger's database (type `postgres` or `sqlite`)"
)

PLUGINS_FOLDER = AirflowSetting(
    "core",
    "plugins_folder",
    "the checkout's `plugins/` when Upkeep is mounted; a folder without `upkeep/` when the wheel is installed. Read to "
    "find two copies of Upkeep",
)
SECRETS_KWARGS = AirflowSetting(
    "secrets",
    "backend_kwargs",
    "with the backend `airflow.secrets.local_filesystem.LocalFilesystemBackend`: `connections_file_path`, a JSON file "
    "of connections that the command line reads as well. Set the same under `[workers] secrets_backend_kwargs`",
    secret=True,
)
AIRFLOW_SETTINGS = (
    SECRETS_KWARGS,
    PLUGINS_FOLDER,
    AirflowSetting("core", "dags_folder", "the checkout's `dags/` when Upkeep is mounted; not used with the wheel"),
    AirflowSetting(
        "dag_processor",
        "dag_bundle_config_list",
        "with the wheel: the bundle `upkeep.operators.dag_bundle.UpkeepDagBundle` (docs/deploy.md)",
    ),
    AirflowSetting("api", "base_url", "the address people use; workers use it too where the next one is not set"),
    AirflowSetting("api", "default_wrap", "`True`: without it the log view cuts off errors and hints, which are long"),
    AirflowSetting("core", "execution_api_server_url", "how workers reach the API server; they share nothing else"),
    AirflowSetting(
        "core", "fernet_key", "without one, Airflow's database holds connection passwords in the clear", secret=True
    ),
    AirflowSetting(
        "api_auth", "jwt_secret", "the same for API server, scheduler, triggerer and every worker", secret=True
    ),
)


def connection_text(conn_id: str) -> tuple[str, str]:
    """The variable that holds a connection, and its text; the text is empty where it is not set."""
    name = f"{CONNECTION}{conn_id.upper()}"
    return name, os.environ.get(name, "").strip()


def connections_file() -> Path | None:
    """The file of connections that Airflow's LocalFilesystemBackend reads, where the environment names one.

    :raises ValueError: its setting isn't JSON.
    """
    text = os.environ.get(SECRETS_KWARGS.variable, "").strip()
    options = json.loads(text) if text else {}
    path = options.get("connections_file_path") if isinstance(options, dict) else None
    return Path(path) if path else None


def airflow_home() -> Path:
    return Path(HOME.value or "~/airflow").expanduser()


def plugins_folder() -> Path:
    """Airflow's folder of plugins, as far as the environment tells: ``airflow.cfg`` may name another."""
    return Path(os.environ.get(PLUGINS_FOLDER.variable) or airflow_home() / "plugins")


def program_folders() -> list[str]:
    """Where programs are looked for: ``UPKEEP_PATH`` before the worker's own ``PATH``."""
    folders = [*PROGRAMS.value.split(os.pathsep), *(PATH.value or os.defpath).split(os.pathsep)]
    return [folder for folder in folders if folder]


def child_environment(added: Mapping[str, str], *, foreign: bool = False) -> dict[str, str]:
    """What a program is given: this process's environment and, over it, ``added``. A ``foreign`` one gets nothing that
    is for Airflow and Upkeep only, connections among them."""
    ours = ("AIRFLOW", "UPKEEP") if foreign else ()
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **added}


def in_force() -> Iterator[tuple[str, str, str]]:
    """Name, value and meaning of everything that is read; values that may hold a secret are never shown."""
    for variable in VARIABLES:
        yield variable.name, variable.value or f"(not set: {variable.default})", variable.meaning
    for name in sorted(name for name in os.environ if name.startswith(CONNECTION)):
        yield name, "(set; not shown)", "a connection"
    for setting in AIRFLOW_SETTINGS:
        value = os.environ.get(setting.variable, "")
        shown = "(set; not shown)" if value and setting.secret else value
        yield setting.variable, shown or "(not set here; airflow.cfg may)", setting.use


def table() -> str:
    """The list as Markdown: what ``docs/configuration.md`` holds between its marks."""
    rows = [f"| `{each.name}` | {each.meaning} | {each.default} |" for each in VARIABLES]
    rows.append(f"| `{CONNECTION}<ID>` | {CONNECTION_MEANING} | what Airflow itself knows |")
    options = [f"| `[{each.section}] {each.option}` | `{each.variable}` | {each.use} |" for each in AIRFLOW_SETTINGS]
    return "\n".join(
        [
            "| variable | meaning | where it is not set |",
            "|---|---|---|",
            *rows,
            "",
            "| Airflow's setting | as a variable | what Upkeep wants of it |",
            "|---|---|---|",
            *options,
        ]
    )
