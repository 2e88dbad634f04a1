"""A site file: one system under care, in one YAML file, checked strictly.

Unknown keys are errors, and every problem is reported at once with its path in the file: an operator who mends one
problem at a time at 2 a.m. gives up.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Hashable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from croniter import croniter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from upkeep.domain.benchmark import why_refused
from upkeep.domain.proof import ProofLevel
from upkeep.domain.retention import RetentionPolicy
from upkeep.errors import PolicyRefused, SiteFileError

NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""Names become folders in the store and parts of DAG ids, so they are plain and short."""


def _known_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{zone!r} is not an IANA time zone such as Asia/Shanghai") from error
    return zone


def _valid_cron(expression: str) -> str:
    if len(expression.split()) != 5 or not croniter.is_valid(expression):
        raise ValueError(f"{expression!r} is not a cron expression of five fields such as '0 2 * * *'")
    return expression


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{path!r} must be absolute: workers start in folders of their own")
    return path


def _lies_in(path: str, folder: str) -> bool:
    return f"{os.path.normpath(path)}/".startswith(f"{os.path.normpath(folder).rstrip('/')}/")


def _store_url(url: str) -> str:
    if "://" not in url:
        raise ValueError(f"{url!r} is not a URL such as file:///backup, oss://bucket/prefix or s3://bucket/prefix")
    if url.startswith("file://") and not url.startswith("file:///"):
        raise ValueError(f"{url!r} has two slashes too few: file:///backup")
    if "@" in url:
        raise ValueError("credentials don't belong in a site file: use conn_id")
    return url


def _age_recipient(key: str) -> str:
    if key.startswith("AGE-SECRET-KEY"):
        raise ValueError(
            "this is a private key: it must not be in a site file; make a new pair and list its public key"
        )
    if not key.startswith(("age1", "ssh-ed25519 ", "ssh-rsa ")):
        raise ValueError("not an age recipient: it starts with age1, ssh-ed25519 or ssh-rsa")
    return key


def _only_reads(statement: str) -> str:
    if why := why_refused(statement):
        raise ValueError(why)
    return statement


Name = Annotated[str, Field(pattern=NAME)]
ConnId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=250)]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]


class Strict(BaseModel):
    # Inputs stay out of pydantic's own text: somebody will paste a private key here one day.
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True)


class Rhythm(Strict):
    """When maintenance of one rhythm may start, and for how long it may work."""

    at: Annotated[str, AfterValidator(_valid_cron)] = Field(description="cron expression in the site's time zone")
    length_h: float = Field(gt=0, le=24, description="how long the window stays open, in hours")


class Rhythms(Strict):
    daily: Rhythm
    weekly: Rhythm | None = None
    monthly: Rhythm | None = None


class StoreSettings(Strict):
    """Where backups go. Credentials only as an Airflow connection id."""

    url: Annotated[str, AfterValidator(_store_url)]
    conn_id: ConnId | None = None
    storage_class: Literal["Standard", "IA"] | None = Field(
        None, description="OSS only; archive classes can't be read back at once, and what can't be read isn't proven"
    )
    server_side_encryption: Literal["AES256", "KMS"] | None = Field(None, description="OSS only")
    part_mb: int = Field(8, ge=1, le=48, description="OSS: size of an upload's first parts; later parts grow")
    threads: int = Field(3, ge=1, le=16, description="OSS: parts under way at once")

    @model_validator(mode="after")
    def _cloud_needs_credentials(self) -> StoreSettings:
        if self.url.startswith("oss://") and not self.conn_id:
            raise ValueError("an oss:// store needs conn_id: the Airflow connection with endpoint, keys and region")
        return self


class Compression(Strict):
    level: int = Field(1, ge=1, le=19, description="zstd level")
    threads: int = Field(2, ge=1, le=64)


class Encryption(Strict):
    """age encryption to public keys. The private key never lives here."""

    recipients: Annotated[list[Annotated[str, AfterValidator(_age_recipient)]], Field(min_length=1)]
    identity_conn_id: ConnId | None = Field(
        None,
        description="connection whose password is the private key; without it a backup can't be looked into after "
        "it was stored, so its ladder ends at checksum",
    )


class Retention(Strict):
    """How many backups of each target stay. The floor ``keep_at_least`` counts proven backups only."""

    daily: int = Field(0, ge=0)
    weekly: int = Field(0, ge=0)
    monthly: int = Field(0, ge=0)
    yearly: int = Field(0, ge=0)
    keep_last: int = Field(0, ge=0)
    keep_at_least: int = Field(3, ge=1)
    min_age_days: int = Field(1, ge=0)
    max_age_days: int | None = Field(None, ge=1)
    counts_from: Literal["checksum", "structure", "restored", "drilled"] = Field(
        "structure", description="the rung from which a backup counts as proven"
    )

    @model_validator(mode="after")
    def _is_a_policy(self) -> Retention:
        try:
            self.policy("UTC")
        except PolicyRefused as error:
            raise ValueError(f"{error.message}; {error.hint}") from error
        return self

    def policy(self, timezone: str) -> RetentionPolicy:
        counts = self.model_dump(exclude={"counts_from"})
        return RetentionPolicy(**counts, timezone=timezone, counts_from=ProofLevel[self.counts_from.upper()])


class PurgeRule(Strict):
    """Rows that may go: those whose ``column`` lies more than ``keep_days`` in the past."""

    table: str = Field(min_length=1, description="schema.table on PostgreSQL where it isn't in public")
    column: str = Field(min_length=1, description="a date or a time; rows where it is NULL stay")
    keep_days: int = Field(ge=0)
    archive: bool = Field(False, description="keep the rows in the store before they go")
    cascade: bool = Field(False, description="let foreign keys remove what refers to these rows")


class Check(Strict):
    """What must be true of a restored copy: one query that gives one number, and its bounds."""

    sql: str = Field(min_length=1, description="a SELECT that gives one row with one number")
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Check:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a check needs at_least, at_most or both")
        return self


class Benchmark(Strict):
    """One statement that reads, timed each month the same way."""

    name: Name
    sql: Annotated[str, AfterValidator(_only_reads)] = Field(description="one SELECT of 10,000 rows at most")


class TableCare(Strict):
    """Which tables are looked after each week. Nothing is done to a table without evidence that it needs it."""

    tables: list[str] = Field(default_factory=list, description="default: all; schema.table where not in public")
    analyze: list[str] = Field(default_factory=list, description="tables whose statistics are looked after as well")
    vacuum_full: list[str] = Field(
        default_factory=list, description="PostgreSQL: tables that may be locked and rewritten when they are bloated"
    )
    bloat_pct: int = Field(30, ge=5, le=95, description="a table or index is rebuilt from this share of waste on")
    bloat_mb: int = Field(100, ge=0, description="and from this much of it on")


class PartitionRule(Strict):
    """A table partitioned by RANGE of dates, whose partitions are made ahead and dropped behind."""

    table: str = Field(min_length=1)
    column: str = Field(min_length=1)
    by: Literal["month"] = "month"
    ahead: int = Field(3, ge=1, le=24, description="how many partitions beyond the current one there must be")
    keep: int | None = Field(None, ge=1, description="how many whole partitions of the past stay; default: all")
    old: Literal["detach", "drop"] = Field("detach", description="what happens to older ones; MySQL can only drop")


class InPod(Strict):
    """A database that is reached only from inside a pod: its dump runs there and is streamed out."""

    pod_selector: str = Field(min_length=1, description="labels that pick the pod: app=chronoretrace-postgres")
    container: str | None = Field(None, description="default: the pod's only container")


class Migrations(Strict):
    """A program that migrates a database, for the copy and for live alike."""

    command: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] = Field(
        description="program and arguments, never a shell; it finds the database in its environment: DATABASE_URL, and "
        "PGHOST... or MYSQL_HOST..."
    )


class ScaleToZero(Strict):
    """Deployments of the site's cluster that must not run while what they write to is replaced."""

    scale_to_zero: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class Database(Strict):
    name: Name
    engine: Literal["mysql", "postgres"] = Field(description="mysql serves MariaDB too")
    conn_id: ConnId
    database: str | None = Field(
        None, description="its name on the server; default: the connection's schema, else name"
    )
    lock_timeout_s: int = Field(5, ge=1, le=300, description="how long any statement may wait for a lock, in seconds")
    purge: list[PurgeRule] = Field(default_factory=list)
    latency_ms: int = Field(1000, ge=1, description="logging in and one trivial query may take this long")
    max_lag_s: int = Field(60, ge=0, description="how far a replica may be behind")
    long_transaction_s: int = Field(1800, ge=1, description="a transaction open for longer is reported")
    dump_streams: int = Field(
        2, ge=1, le=8, description="MySQL: how many mysqldumps share the tables of a large database, from one moment"
    )
    checksum_under_mb: int = Field(
        64, ge=0, description="the content of tables up to this size is fingerprinted within the dump's snapshot"
    )
    scratch_conn_id: ConnId | None = Field(
        None, description="a server where backups may be restored to prove them; refused if it is the source"
    )
    checks: list[Check] = Field(default_factory=list, description="what must be true of a restored copy")
    benchmark: list[Benchmark] = Field(
        default_factory=list, description="timed each month, beside a few queries of Upkeep's own"
    )
    upkeep: TableCare = TableCare()
    partitions: list[PartitionRule] = Field(default_factory=list)
    restore_conn_id: ConnId | None = Field(
        None,
        description="an account on the same server that may make, fill and rename databases, for restores by hand; "
        "default: conn_id, which by `upkeep grants` may not",
    )
    migrate_conn_id: ConnId | None = Field(
        None,
        description="an account on the same server that may change its tables, for migrations by hand; on PostgreSQL "
        "their owner, for what it makes is its own; default: conn_id, which by `upkeep grants` may not",
    )
    migrations: Migrations | None = None
    stop_writes: Literal["read_only"] | ScaleToZero | None = Field(
        None,
        description="what keeps applications from writing while a copy takes the live database's place: read_only is "
        "the database's own setting on PostgreSQL, the whole server's on MySQL; or scale_to_zero: [deployments]",
    )
    via: InPod | None = Field(
        None, description="reach it through a pod of the site's cluster, whatever host conn_id names: that only logs in"
    )


class Cache(Strict):
    """A Redis."""

    name: Name
    conn_id: ConnId
    latency_ms: int = Field(200, ge=1, description="logging in and one PING may take this long")
    max_memory_pct: int = Field(80, ge=1, le=100, description="of maxmemory, where one is set")
    max_lag_s: int = Field(60, ge=0, description="how long the link to the master may have been silent")
    big_key_mb: float = Field(50, gt=0, description="a key that takes more memory is named")


class Folder(Strict):
    """Paths kept in one archive. Links are stored, never followed."""

    name: Name
    paths: Annotated[list[AbsolutePath], Field(min_length=1)]
    optional_paths: list[AbsolutePath] = Field(default_factory=list, description="kept where they exist")


class HttpEndpoint(Strict):
    """A URL that must answer."""

    name: Name
    url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$", description="without credentials")]
    expect_status: Annotated[int, Field(ge=100, le=599)] = 200
    latency_ms: int = Field(2000, ge=1)
    timeout_s: float = Field(10, gt=0, le=60)
    certificate_days: int = Field(21, ge=0, description="https: warn when the certificate ends sooner")


class Thresholds(Strict):
    """Shares of a resource, in percent, from which on it is reported."""

    cpu_pct: int = Field(80, ge=1, le=100)
    memory_pct: int = Field(85, ge=1, le=100)
    disk_pct: int = Field(85, ge=1, le=100)
    inodes_pct: int = Field(85, ge=1, le=100)
    connections_pct: int = Field(80, ge=1, le=100)


class Host(Strict):
    """Where the figures of the machines come from: the worker's own, or a Prometheus that scrapes node_exporter."""

    prometheus_url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")] | None = Field(
        None, description="without credentials; its API is below /api/v1"
    )
    instance: str | None = Field(
        None, pattern=r'^[^"\\\s]+$', description="the instance label of the one machine meant; default: all of them"
    )
    conn_id: ConnId | None = Field(
        None, description="login and password for basic authentication, or a password alone as a bearer token"
    )

    @model_validator(mode="after")
    def _speaks_of_prometheus(self) -> Host:
        if not self.prometheus_url and (self.instance or self.conn_id):
            raise ValueError("instance and conn_id say how to ask Prometheus: set prometheus_url as well")
        return self


class Security(Strict):
    """What the security review looks at besides the site's folders, databases and caches."""

    paths: list[AbsolutePath] = Field(
        default_factory=list, description="reviewed for files anyone can change and keys anyone can read"
    )
    certificates: list[AbsolutePath] = Field(default_factory=list, description="files, or folders of them")
    tls_endpoints: list[Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):\d{1,5}$")]] = Field(
        default_factory=list, description="host:port whose certificate is read; https endpoints are read anyway"
    )
    certificate_days: int = Field(21, ge=0, description="report a certificate that ends sooner")
    failed_logins: int = Field(
        20, ge=1, description="report an address with so many failed logins since the last check"
    )


class Notify(Strict):
    """Who is told of a run. The connection's type says how: smtp, apprise, or a webhook that takes {"text": ...}."""

    conn_id: ConnId
    when: Literal["red", "amber", "always"] = Field("amber", description="from which light on")


_NOT_ONLY_LOGS = frozenset(
    {"/", "//", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/usr", "/usr/local", "/var", "/var/lib"}
)
_NEVER_LOGS = (
    "/bin/", "/boot/", "/dev/", "/etc/", "/lib/", "/lib64/", "/proc/", "/run/", "/sbin/", "/sys/", "/usr/bin/",
    "/usr/lib/",
)  # fmt: skip


class LogFolder(Strict):
    """Log files below one folder, by name. Errors are lines that match one of ``errors`` (regular expressions).

    Files are only compressed or removed where ``keep_days`` or ``compress_over_mb`` says so.
    """

    path: AbsolutePath
    patterns: Annotated[list[str], Field(min_length=1)] = Field(default_factory=lambda: ["*.log", "*.log.*"])
    errors: Annotated[list[str], Field(min_length=1)] = Field(
        default_factory=lambda: [r"(?i)\b(error|fatal|critical|panic)\b"], description="what an error line looks like"
    )
    keep_days: int | None = Field(None, ge=1, description="files last written earlier than this are removed")
    compress_over_mb: float | None = Field(None, ge=0, description="larger files that nobody writes become .zst")
    compress_after_days: float = Field(1, ge=0, description="and that were last written at least this long ago")

    @property
    def is_cleaned(self) -> bool:
        return self.keep_days is not None or self.compress_over_mb is not None

    @model_validator(mode="after")
    def _holds_logs(self) -> LogFolder:
        place = os.path.normpath(self.path)
        if self.is_cleaned and (place in _NOT_ONLY_LOGS or f"{place}/".startswith(_NEVER_LOGS)):
            raise ValueError(
                f"{place} holds more than logs, and files would be removed from all of it: name its log folder"
            )
        return self


class Deployment(Strict):
    """A Deployment that rolling_update may change, and what must hold before and after."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
    container: str | None = Field(None, description="whose image is set; default: the pod's only container")
    after: list[str] = Field(default_factory=list, description="deployments that must be updated and healthy first")
    timeout_s: int = Field(300, ge=10, le=7200, description="how long one rollout may take")
    health_url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")] | None = Field(
        None, description="must answer as well after the rollout as it did before"
    )
    approve_scale: bool = Field(True, description="scaling it waits for a person")


LookedAt = Literal[
    "pods", "services", "persistentvolumeclaims", "deployments", "statefulsets", "daemonsets", "jobs", "nodes",
    "certificates", "events", "metrics",
]  # fmt: skip


class Cluster(Strict):
    """One namespace of a Kubernetes cluster. Its manifests are a target like any other, under ``name``."""

    name: Name = "manifests"
    conn_id: ConnId
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    secrets: bool = Field(False, description="keep Secrets with the manifests; only with encryption")
    deployments: list[Deployment] = Field(default_factory=list)
    settle_s: int = Field(30, ge=0, le=3600, description="how long the health gates must hold after a rollout")
    approval: bool = Field(True, description="a rollout, undo or restart waits for a person")
    approvers: list[str] = Field(default_factory=list, description="Airflow users who may approve; default: all")
    approval_timeout_h: float = Field(4, gt=0, le=72, description="after which an unanswered request is a no")
    certificate_days: int = Field(21, ge=0, description="report a TLS secret whose certificate ends sooner")
    leave_out: list[LookedAt] = Field(
        default_factory=list, description="what check_cluster and sample_capacity don't look at, so don't remark either"
    )

    @model_validator(mode="after")
    def _deployments_can_be_ordered(self) -> Cluster:
        names = [deployment.name for deployment in self.deployments]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"deployments stand twice: {', '.join(twice)}")
        before = {deployment.name: list(deployment.after) for deployment in self.deployments}
        if unknown := sorted({name for after in before.values() for name in after} - set(names)):
            raise ValueError(f"after names deployments that are not listed: {', '.join(unknown)}")
        try:
            TopologicalSorter(before).prepare()
        except CycleError as error:
            raise ValueError(f"deployments wait for each other: {' after '.join(error.args[1])}") from error
        return self


class Goals(Strict):
    """How soon the whole site must stand again after a disaster, and how much of it may be lost."""

    rto_min: float = Field(gt=0, description="minutes from the start of a rebuild until the site's checks hold")
    rpo_h: float = Field(gt=0, description="hours between the newest recovered row and the disaster")


class Drill(Strict):
    """How the monthly drill rebuilds the site."""

    order: list[Name] = Field(
        default_factory=list,
        description="targets in the order they need each other; those left out come after, as "
        "databases, caches, folders",
    )
    backups: Literal["newest", "random"] = Field(
        "newest", description="of each target's proven backups; random also finds an old one that can't be restored"
    )


class Docker(Strict):
    """What the weekly clean-up may remove from a Docker engine. Volumes only where they carry ``volume_label``."""

    url: Annotated[str, Field(pattern=r"^(unix:///|https?://)[^@\s]+$")] = "unix:///var/run/docker.sock"
    images_h: int | None = Field(None, ge=1, description="unused images older than this many hours")
    containers_h: int | None = Field(None, ge=1, description="stopped containers older than this many hours")
    build_cache_h: int | None = Field(None, ge=1, description="build cache unused for this many hours")
    volume_label: str | None = Field(None, min_length=1, description="unused volumes with this label, key or key=value")


_HOLDS_SECRET = re.compile(r"-*[\w.-]*(password|passwd|token|api[._-]?key)(=|$)", re.IGNORECASE)


class Scan(Strict):
    """One look for vulnerabilities, by a program that the worker has. ``args`` ask for more than its own defaults."""

    name: Name
    tool: Literal["lynis", "nmap", "trivy", "zap"] = Field(
        description="lynis audits the worker itself, nmap looks for open ports, trivy for known vulnerabilities in an "
        "image or a folder, zap attacks a web site"
    )
    target: str | None = Field(
        None, min_length=1, description="nmap: a host; trivy: an image, or what its command wants; zap: a URL"
    )
    args: list[str] = Field(
        default_factory=list, description="more for the program; trivy: its command first, default: image"
    )
    ports: list[Annotated[int, Field(ge=1, le=65535)]] | None = Field(
        None, description="nmap: those that may be open; any other is a finding"
    )
    timeout_s: int = Field(1800, ge=1, le=6 * 3600, description="after which it is ended and counts as not looked at")

    @model_validator(mode="after")
    def _has_a_target(self) -> Scan:
        if (self.target is None) != (self.tool == "lynis"):
            wants = "audits the worker itself: it takes no target" if self.tool == "lynis" else "needs a target"
            raise ValueError(f"{self.tool} {wants}")
        if self.target and self.target.startswith("-"):
            raise ValueError(f"target {self.target!r} would be taken for an option: those belong into args")
        if self.tool == "zap" and not re.fullmatch(r"https?://[^@\s]+", self.target or ""):
            raise ValueError("zap needs a URL without credentials, such as https://shop.example/")
        if told := next((arg for arg in self.args if _HOLDS_SECRET.match(arg)), None):
            raise ValueError(
                f"{told.partition('=')[0]} would stand in the list of processes, the log and the ledger: programs take "
                "such things from the worker's environment (trivy: TRIVY_PASSWORD, TRIVY_TOKEN)"
            )
        if self.ports is not None and self.tool != "nmap":
            raise ValueError("ports is for nmap only")
        return self


Section = Database | Cache | Folder | Cluster
"""The part of a site file that describes one target."""


class Target(Strict):
    """One thing that is backed up, whatever section of the file it comes from."""

    name: str
    engine: Literal["mysql", "postgres", "redis", "files", "kubernetes"]
    conn_id: str | None

    @property
    def server(self) -> str:
        """What must not be read by two dumps at once: a connection id, or ``files``."""
        return self.conn_id or "files"


class Approval(Strict):
    """Who says yes before what is live is replaced or migrated."""

    approvers: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, description="Airflow users; empty: whoever may answer in Airflow"
    )
    timeout_h: float = Field(1, gt=0, le=72, description="no answer within this time is a no")


class Site(Strict):
    """One system under care."""

    name: Name
    title: str
    timezone: Annotated[str, AfterValidator(_known_zone)]
    rhythms: Rhythms
    store: StoreSettings
    spool: AbsolutePath = Field(
        "/var/spool/upkeep", description="folder on the worker where a finished backup waits while the store is away"
    )
    compression: Compression = Compression()
    encryption: Encryption | None = None
    retention: Retention
    prove: Annotated[str, Field(pattern=r"^(all|newest|1/[1-9]\d{0,2})$")] = Field(
        "all", description="which of the week's backups are restored: all, each target's newest, or one in n"
    )
    max_shrink_pct: int = Field(50, ge=1, le=99, description="a backup smaller than the last by more than this fails")
    databases: list[Database] = Field(default_factory=list)
    caches: list[Cache] = Field(default_factory=list)
    folders: list[Folder] = Field(default_factory=list)
    logs: list[LogFolder] = Field(default_factory=list)
    endpoints: list[HttpEndpoint] = Field(default_factory=list)
    thresholds: Thresholds = Thresholds()
    notify: list[Notify] = Field(default_factory=list)
    host: Host = Host()
    goals: Goals | None = Field(None, description="what a drill is judged by; without them it only measures")
    drill: Drill = Drill()
    docker: Docker | None = None
    cluster: Cluster | None = None
    security: Security = Security()
    approval: Approval = Approval()
    scans: list[Scan] = Field(default_factory=list, description="each month's look for vulnerabilities")

    @model_validator(mode="after")
    def _consistent(self) -> Site:
        names = [target.name for target in self.targets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                "target names must differ across databases, caches, folders and the cluster: "
                f"{', '.join(twice)} stands twice"
            )
        scans = [scan.name for scan in self.scans]
        if twice := sorted({name for name in scans if scans.count(name) > 1}):
            raise ValueError(f"scan names must differ: {', '.join(twice)} stands twice")
        scaled = [d.name for d in self.databases if isinstance(d.stop_writes, ScaleToZero)]
        if self.cluster is None and scaled:
            raise ValueError(f"stop_writes.scale_to_zero needs the cluster section: {', '.join(scaled)}")
        if self.cluster is None and (inside := [d.name for d in self.databases if d.via]):
            raise ValueError(f"databases in pods need the cluster section: {', '.join(inside)}")
        if self.cluster and self.cluster.secrets and not self.encryption:
            raise ValueError("cluster.secrets keeps passwords in base64, which anybody reads: set encryption as well")
        if strange := sorted(set(self.drill.order) - set(names)):
            raise ValueError(f"drill.order names no targets of this site: {', '.join(strange)}")
        if not names:
            raise ValueError("no target: list at least one of databases, caches, folders")
        for kept in (self.spool, self.store.url.removeprefix("file://")):
            if wide := [log.path for log in self.logs if log.is_cleaned and _lies_in(kept, log.path)]:
                raise ValueError(f"the backups in {kept} lie below {wide[0]}, a log folder that files are removed from")
        if self.encryption and not self.encryption.identity_conn_id and self.retention.counts_from != "checksum":
            raise ValueError(
                f"retention.counts_from is {self.retention.counts_from}, but without encryption.identity_conn_id an "
                "encrypted backup never gets past checksum, so nothing would ever be removed: name the connection that "
                "holds the private key, or set retention.counts_from: checksum"
            )
        return self

    @property
    def targets(self) -> tuple[Target, ...]:
        return (
            *(Target(name=d.name, engine=d.engine, conn_id=d.conn_id) for d in self.databases),
            *(Target(name=c.name, engine="redis", conn_id=c.conn_id) for c in self.caches),
            *(Target(name=f.name, engine="files", conn_id=None) for f in self.folders),
            *(Target(name=c.name, engine="kubernetes", conn_id=c.conn_id) for c in [self.cluster] if c),
        )

    def target(self, name: str) -> Target:
        for target in self.targets:
            if target.name == name:
                return target
        raise SiteFileError(
            f"site {self.name!r} has no target {name!r}",
            hint=f"its targets are: {', '.join(target.name for target in self.targets)}",
        )

    @property
    def drill_order(self) -> tuple[str, ...]:
        """The targets in the order in which a drill rebuilds them. A cluster's manifests only where ``drill.order``
        names them: they are tried with the server's dry run, which rebuilds nothing.
        """
        others = (target.name for target in self.targets if target.engine != "kubernetes")
        return tuple(dict.fromkeys([*self.drill.order, *others]))

    def servers(self) -> dict[str, tuple[str, ...]]:
        """Target names by server, in file order: dumps of one server never run side by side."""
        groups: dict[str, list[str]] = {}
        for target in self.targets:
            groups.setdefault(target.server, []).append(target.name)
        return {server: tuple(names) for server, names in groups.items()}

    @property
    def checks(self) -> tuple[str, ...]:
        """What the daily health check looks at, each a task of its own."""
        return (
            *(f"database/{database.name}" for database in self.databases),
            *(f"cache/{cache.name}" for cache in self.caches),
            *(f"endpoint/{endpoint.name}" for endpoint in self.endpoints),
            "store",
        )

    def section(self, target: str) -> Section:
        """The part of the file that describes ``target``."""
        self.target(target)
        sections: list[Section] = [*self.databases, *self.caches, *self.folders]
        if self.cluster:
            sections.append(self.cluster)
        return next(section for section in sections if section.name == target)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the settings in force, for the ledger: which configuration did this run follow?"""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def load_site(path: Path) -> Site:
    """Read one site file. Errors: ``SiteFileError`` with every problem, each with its path in the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteFileError(
            f"site file {path} can't be read: {error}", hint="check its name, mode and encoding (UTF-8)"
        ) from error
    return site_from(text, path)


def site_from(text: str, path: Path) -> Site:
    """The site that a file's text describes; ``path`` names it in errors. Errors: ``SiteFileError`` as above."""
    try:
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader subclass
    except yaml.YAMLError as error:
        raise SiteFileError(
            f"site file {path} is not valid YAML",
            hint=f"mend it, then run: upkeep check {path}",
            problems=(str(error),),
        ) from error
    if not isinstance(content, dict):
        raise SiteFileError(
            f"site file {path} holds no settings", hint="start from a sample in include/sites", problems=()
        )
    try:
        return Site.model_validate(content)
    except ValidationError as error:
        raise SiteFileError(
            f"site file {path} has {error.error_count()} problem{'s' if error.error_count() != 1 else ''}:",
            hint=f"mend them, then run: upkeep check {path}",
            problems=tuple(_problems(error)),
        ) from error


def load_sites(folder: Path) -> tuple[dict[str, Site], list[SiteFileError]]:
    """Every ``*.yaml`` of ``folder``: the sites by name, and one error for each file that can't be used.

    One broken file never hides the others. A site name used twice is an error of the later file.
    """
    sites: dict[str, Site] = {}
    broken: list[SiteFileError] = []
    origin: dict[str, Path] = {}
    if not folder.is_dir():
        return {}, [
            SiteFileError(
                f"the folder of site files {folder} does not exist", hint="set UPKEEP_SITES to the right folder"
            )
        ]
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        try:
            site = load_site(path)
        except SiteFileError as error:
            broken.append(error)
            continue
        if site.name in sites:
            broken.append(
                SiteFileError(
                    f"site file {path} is called {site.name!r}, as is {origin[site.name]}",
                    hint="give one of them another name; a site's backups are stored under it",
                )
            )
            continue
        sites[site.name], origin[site.name] = site, path
    return sites, broken


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
        what = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            what = "unknown key"
        elif problem["type"] == "missing":
            what = "missing"
        elif problem["type"] != "value_error" and not isinstance(problem["input"], dict | list):
            what = f"{what} (is {problem['input']!r})"  # our own validators say what they saw, and hide what is secret
        yield f"{where or 'file'}: {what}"


class _StrictLoader(yaml.CSafeLoader):
    """YAML without the trap of a key that stands twice, where the last one silently wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the base class reports it
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
