"""Where backups go, in what form, and how long they stay."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from upkeep.domain.proof import ProofLevel
from upkeep.domain.retention import RetentionPolicy
from upkeep.errors import PolicyRefused
from upkeep.site.fields import ConnId, Strict


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


class StoreSettings(Strict):
    """Where backups go. Credentials only as an Airflow connection id."""

    url: Annotated[str, AfterValidator(_store_url)] = Field(
        description="file:///folder, oss://bucket/prefix, or any URL that fsspec knows, such as s3://bucket/prefix"
    )
    conn_id: ConnId | None = Field(None, description="the connection with its credentials; oss:// needs one")
    storage_class: Literal["Standard", "IA"] | None = Field(
        None, description="OSS only; archive classes can't be read back at once, and what can't be read isn't proven"
    )
    server_side_encryption: Literal["AES256", "KMS"] | None = Field(None, description="OSS only")
    part_mb: int = Field(8, ge=1, le=48, description="OSS: size of an upload's first parts, in MiB; later parts grow")
    threads: int = Field(3, ge=1, le=16, description="OSS: parts under way at once")
    mount_point: str | None = Field(
        None,
        pattern="^/",
        description="file:// only: the folder on which the store's disk is mounted; while nothing is, the store is "
        "away and backups wait in the spool, instead of filling the disk below",
    )
    latency_ms: int = Field(5000, ge=1, description="writing a small object and removing it may take this long")

    @model_validator(mode="after")
    def _cloud_needs_credentials(self) -> StoreSettings:
        if self.url.startswith("oss://") and not self.conn_id:
            raise ValueError("an oss:// store needs conn_id: the Airflow connection with endpoint, keys and region")
        return self

    @model_validator(mode="after")
    def _lies_on_its_mount(self) -> StoreSettings:
        if self.mount_point and not PurePosixPath(urlsplit(self.url).path).is_relative_to(self.mount_point):
            raise ValueError(f"{self.url} doesn't lie on the mount_point {self.mount_point}")
        if self.mount_point and not self.url.startswith("file://"):
            raise ValueError(f"{self.url} is no folder, and has no mount_point")
        return self


class Compression(Strict):
    """How backups are compressed, with zstd."""

    level: int = Field(1, ge=1, le=19, description="zstd level")
    threads: int = Field(2, ge=1, le=64, description="threads of zstd for each backup")


class Encryption(Strict):
    """age encryption to public keys. The private key never lives here."""

    recipients: Annotated[list[Annotated[str, AfterValidator(_age_recipient)]], Field(min_length=1)] = Field(
        description="public keys, each of which opens every backup: age1..., ssh-ed25519 ... or ssh-rsa ..."
    )
    identity_conn_id: ConnId | None = Field(
        None,
        description="connection whose password is the private key; without it a backup can't be looked into after "
        "it was stored, so its ladder ends at checksum",
    )


class Retention(Strict):
    """How many backups of each target stay. The floor ``keep_at_least`` counts proven backups only."""

    daily: int = Field(0, ge=0, description="the newest of each of so many days that have a proven backup")
    weekly: int = Field(0, ge=0, description="of so many weeks")
    monthly: int = Field(0, ge=0, description="of so many months")
    yearly: int = Field(0, ge=0, description="of so many years")
    keep_last: int = Field(0, ge=0, description="the newest proven ones, however many a day has")
    keep_at_least: int = Field(3, ge=1, description="never fewer proven ones than this, whatever the rules say")
    min_age_days: int = Field(1, ge=0, description="what is younger stays")
    max_age_days: int | None = Field(
        None, ge=1, description="what is older has no slot any more; only the newest of these stays"
    )
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
