"""A database, and what may be done to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from upkeep.domain.benchmark import why_refused
from upkeep.site.fields import ConnId, Name, Strict


def _only_reads(statement: str) -> str:
    if why := why_refused(statement):
        raise ValueError(why)
    return statement


class PurgeRule(Strict):
    """Rows that may go: those whose ``column`` lies more than ``keep_days`` in the past."""

    table: str = Field(min_length=1, description="schema.table on PostgreSQL where it isn't in public")
    column: str = Field(min_length=1, description="a date or a time; rows where it is NULL stay")
    keep_days: int = Field(ge=0, description="0: all whose column lies in the past")
    archive: bool = Field(
        False, description="keep the rows in the store before they go; nothing ever removes these archives"
    )
    cascade: bool = Field(
        False,
        description="let ON DELETE keys change or remove what refers to these rows; without it such a rule is refused",
    )


class Check(Strict):
    """What must be true of a restored copy: one query that gives one number, and its bounds."""

    sql: str = Field(min_length=1, description="a SELECT that gives one row with one number")
    at_least: float | None = Field(None, description="the least that the number may be; one of the two is needed")
    at_most: float | None = Field(None, description="the most that it may be")

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

    table: str = Field(min_length=1, description="schema.table on PostgreSQL where it isn't in public")
    column: str = Field(min_length=1, description="the date or time by whose RANGE it is partitioned")
    by: Literal["month"] = Field("month", description="how much one partition holds")
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

    scale_to_zero: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] = Field(
        description="names of Deployments; they get their number of pods back afterwards"
    )


class Database(Strict):
    """One database of a server, a target under ``name``."""

    name: Name
    engine: Literal["mysql", "postgres"] = Field(description="mysql serves MariaDB too")
    conn_id: ConnId
    database: str | None = Field(
        None, description="its name on the server; default: the connection's schema, else name"
    )
    lock_timeout_s: int = Field(5, ge=1, le=300, description="how long any statement may wait for a lock, in seconds")
    purge: list[PurgeRule] = Field(default_factory=list, description="rows that may go each night, in this order")
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
    partitions: list[PartitionRule] = Field(default_factory=list, description="tables partitioned by month")
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
