"""Site files: strict, and every problem at once."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from upkeep.domain.proof import ProofLevel
from upkeep.errors import SiteFileError
from upkeep.resources import include_folder
from upkeep.site import Site, load_site, load_sites
from upkeep.site.reference import reference

MINIMAL: dict[str, Any] = {
    "name": "shop",
    "title": "商店",
    "timezone": "Asia/Shanghai",
    "rhythms": {"daily": {"at": "0 2 * * *", "length_h": 3}},
    "store": {"url": "file:///backup"},
    "retention": {"daily": 7},
    "databases": [{"name": "app", "engine": "mysql", "conn_id": "shop_mysql"}],
}

LAUGHS = b"a: &l0 {key: value}\n" + b"".join(
    b"%d: &l%d {<<: [%s]}\n" % (line, line, b", ".join([b"*l%d" % (line - 1)] * 10)) for line in range(1, 8)
)
"""Ten million pairs, each line having what the one before it has ten times over."""


def write(folder: Path, content: object, name: str = "shop.yaml") -> Path:
    path = folder / name
    path.write_text(
        content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True), encoding="utf-8"
    )
    return path


def problems(folder: Path, **changes: object) -> tuple[str, ...]:
    with pytest.raises(SiteFileError) as raised:
        load_site(write(folder, {**MINIMAL, **changes}))
    assert "HINT:" in str(raised.value)
    assert str(folder) in raised.value.message or "shop.yaml" in str(raised.value)
    return raised.value.problems


@pytest.mark.parametrize("name", ["kindergarten", "chronoretrace"])
def test_the_sample_sites_are_valid(name: str) -> None:
    site = load_site(include_folder() / "sites" / f"{name}.yaml")
    assert site.name == name
    assert {target.engine for target in site.targets} >= {"redis", "files"}


def test_the_samples_carry_the_manuals_own_names() -> None:
    sites, broken = load_sites(include_folder() / "sites")
    assert broken == []
    kindergarten, chronoretrace = sites["kindergarten"], sites["chronoretrace"]
    assert kindergarten.rhythms.daily.at == "0 2 * * *"
    assert kindergarten.store.url.startswith("oss://")
    assert kindergarten.databases[0].database == "kindergarten"
    assert chronoretrace.retention.daily == 30
    assert kindergarten.cluster and chronoretrace.cluster
    assert [(one.name, one.timeout_s) for one in kindergarten.cluster.deployments] == [
        ("auth-service", 300), ("tenant-service", 300),
    ]  # fmt: skip
    (backend,) = chronoretrace.cluster.deployments
    assert (backend.name, backend.container, backend.timeout_s) == ("chronoretrace-backend", "backend", 600)
    assert chronoretrace.folders[0].paths == ["/etc/chronoretrace", "/opt/chronoretrace/config"]


def test_a_minimal_file_is_enough(tmp_path: Path) -> None:
    site = load_site(write(tmp_path, MINIMAL))
    assert site.title == "商店"
    assert site.retention.policy(site.timezone).counts_from is ProofLevel.STRUCTURE


def test_every_problem_is_reported_at_once_with_its_path(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        timezone="Asia/Nowhere",
        rhythms={"daily": {"at": "every night", "length_h": 0}},
        databases=[{"name": "App!", "engine": "oracle", "conn_id": "x", "sharding": []}],
        folders=[{"name": "config", "paths": ["etc"]}],
        colour="blue",
    )
    text = "\n".join(found)
    for place in (
        "timezone", "rhythms.daily.at", "rhythms.daily.length_h", "databases[0].name", "databases[0].engine",
        "databases[0].sharding", "folders[0].paths[0]", "colour",
    ):  # fmt: skip
        assert any(problem.startswith(f"{place}:") for problem in found), f"{place} is not reported in {text}"
    assert "colour: unknown key" in found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"store": {"url": "/backup"}}, "is not a URL"),
        ({"store": {"url": "file://backup"}}, "two slashes too few"),
        ({"store": {"url": "oss://bucket/prefix"}}, "needs conn_id"),
        ({"store": {"url": "file:///backup/x", "mount_point": "/mnt"}}, "doesn't lie on the mount_point /mnt"),
        ({"store": {"url": "s3://b/mnt/x", "mount_point": "/mnt"}}, "is no folder, and has no mount_point"),
        ({"store": {"url": "file:///mnt/x", "mount_point": "mnt"}}, "mount_point"),
        ({"store": {"url": "s3://key:secret@bucket"}}, "use conn_id"),
        ({"databases": []}, "no target"),
        ({"caches": [{"name": "app", "conn_id": "r"}]}, "app is listed twice"),
        ({"retention": {"keep_at_least": 3}}, "keep nothing"),
        ({"encryption": {"recipients": ["age1abc"]}}, "identity_conn_id"),
        ({"encryption": {"recipients": []}}, "at least 1"),
        ({"folders": [{"name": "c", "paths": []}]}, "at least 1"),
        ({"logs": [{"path": "/var/../", "keep_days": 30}]}, "/ holds more than logs"),
        ({"logs": [{"path": "/var/lib/", "compress_over_mb": 1}]}, "/var/lib holds more than logs"),
        ({"logs": [{"path": "/etc/app/logs", "keep_days": 30}]}, "/etc/app/logs holds more than logs"),
        ({"store": {"url": "file:///backup"}, "spool": "/backup/"}, "the spool /backup/ lies in the store /backup"),
        ({"store": {"url": "file:///backup"}, "spool": "/backup/spool"}, "has to wait elsewhere"),
        (
            {"logs": [{"path": "/backup", "keep_days": 30}], "store": {"url": "file:///backup/upkeep"}},
            "the backups in /backup/upkeep lie below /backup, a log folder",
        ),
    ],
)
def test_a_setting_that_cannot_work_is_explained(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    assert expected in "\n".join(problems(tmp_path, **changes))


def test_a_folder_whose_logs_are_only_read_may_be_any(tmp_path: Path) -> None:
    logs = [{"path": "/var"}, {"path": "/var/lib/pg/log", "keep_days": 7}, {"path": "/library/logs", "keep_days": 7}]
    assert len(load_site(write(tmp_path, {**MINIMAL, "logs": logs})).logs) == 3


def test_a_private_key_is_refused_and_never_shown(tmp_path: Path) -> None:
    key = "AGE-SECRET-KEY-1QQPQQQQQQ"
    with pytest.raises(SiteFileError) as raised:
        load_site(write(tmp_path, {**MINIMAL, "encryption": {"recipients": [key]}}))
    shown = f"{raised.value}{raised.value.__cause__}"
    assert "private key" in shown
    assert key not in shown


def test_deployments_are_only_scaled_to_zero_in_a_cluster_that_the_site_describes(tmp_path: Path) -> None:
    database = {"name": "app", "engine": "mysql", "conn_id": "shop_mysql", "stop_writes": {"scale_to_zero": ["api"]}}
    assert "needs the cluster section: app" in problems(tmp_path, databases=[database])[0]
    with_cluster = {"conn_id": "k8s", "namespace": "shop", "deployments": [{"name": "api"}]}
    load_site(write(tmp_path, {**MINIMAL, "databases": [database], "cluster": with_cluster}))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "holds no settings"),
        (b"just words", "holds no settings"),
        (b"- a\n- list", "holds no settings"),
        (b"name: [unclosed", "line 2, column 1: while parsing a flow sequence (line 1), did not find expected"),
        (b"name: shop\ntitle: \x00", "line 2: control characters are not allowed"),
        (
            b"name: shop\ntitle: 2026-02-30",
            "line 2, column 8: '2026-02-30' is not a valid timestamp; a text needs quotes",
        ),
        (b"name: shop\ntitle: !!map [a]", "line 2, column 8: expected a mapping node, but found sequence"),
        (b"name: shop\nname: again", "line 2, column 1: key 'name' is listed twice"),
        ("name: shop\ntitle: 商店".encode("gbk"), "is not in UTF-8: line 2 holds the byte 0xc9"),
        (b"# a dump that lies in the wrong folder\n" * 30_000, "is larger than 1.0 MB"),
        (b"name: " + b"[" * 400_000, "line 1, column 56: nested more than 50 deep"),
        (b"? " + b"[" * 300 + b"]" * 300 + b"\n: 1", "line 1, column 52: nested more than 50 deep"),
        (LAUGHS, "line 6, column 19: more than 100,000 settings, repeated ones (aliases such as *name) included"),
        (b"name: &n {<<: *n}", "line 1, column 15: more than 100,000 settings"),
    ],
    ids=lambda part: part[:40],
)
def test_what_is_no_site_file_is_named_with_the_place_and_the_next_step(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "shop.yaml"
    path.write_bytes(content)
    with pytest.raises(SiteFileError, match=r"shop\.yaml.*(\n.*)?\nHINT: ") as raised:
        load_site(path)
    assert expected in str(raised.value)


def test_a_folder_with_the_name_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").mkdir()
    with pytest.raises(SiteFileError, match=r"shop\.yaml can't be read: Is a directory\nHINT: check that it is a file"):
        load_site(tmp_path / "shop.yaml")


def test_a_pipe_with_the_name_of_a_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    write(tmp_path, MINIMAL)
    sites, (broken,) = load_sites(tmp_path)
    assert list(sites) == ["shop"]
    assert "pipe.yaml is not a file" in broken.message


def test_where_one_of_several_forms_is_allowed_the_path_is_that_of_the_file(tmp_path: Path) -> None:
    databases = [{**MINIMAL["databases"][0], "stop_writes": "readonly"}, {"stop_writes": {"scale_to_zero": [""]}}]
    found = problems(tmp_path, databases=databases)
    assert "databases[0].stop_writes: Input should be 'read_only' (is 'readonly')" in found
    assert "databases[0].stop_writes: must hold keys and values (is 'readonly')" in found
    assert "databases[1].name: missing" in found
    assert any(problem.startswith("databases[1].stop_writes.scale_to_zero[0]: ") for problem in found)


def test_settings_may_be_shared_within_a_file(tmp_path: Path) -> None:
    first = "&first {name: app, engine: mysql, conn_id: shop_mysql, latency_ms: 5}"
    others = yaml.safe_dump({key: value for key, value in MINIMAL.items() if key != "databases"})
    site = load_site(write(tmp_path, f"{others}databases: [{first}, {{<<: *first, name: crm}}]"))
    assert [(database.name, database.latency_ms) for database in site.databases] == [("app", 5), ("crm", 5)]


def test_one_broken_file_hides_no_other(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    write(tmp_path, {**MINIMAL, "name": "other"}, "other.yaml")
    write(tmp_path, "name: broken", "broken.yaml")
    write(tmp_path, "at: 2026-99-99", "dated.yaml")
    (tmp_path / "folder.yaml").mkdir()
    sites, broken = load_sites(tmp_path)
    assert sorted(sites) == ["other", "shop"]
    assert [Path(error.message.split()[2]).name for error in broken] == ["broken.yaml", "dated.yaml", "folder.yaml"]


def test_a_name_used_twice_breaks_the_later_file_only(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "a.yaml")
    write(tmp_path, MINIMAL, "b.yaml")
    sites, broken = load_sites(tmp_path)
    assert list(sites) == ["shop"]
    assert "b.yaml" in str(broken[0])
    assert "a.yaml" in str(broken[0])


def test_a_folder_that_is_missing_or_empty_is_an_error_and_not_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, said in ((tmp_path / "nowhere", "does not exist"), (tmp_path / "empty", "holds none")):
        sites, (broken,) = load_sites(folder)
        assert sites == {}
        assert f"{folder} {said}" in broken.message


def test_targets_are_grouped_by_the_server_they_share() -> None:
    content = {
        **MINIMAL,
        "databases": [
            {"name": "app", "engine": "mysql", "conn_id": "one"},
            {"name": "crm", "engine": "mysql", "conn_id": "one"},
            {"name": "log", "engine": "postgres", "conn_id": "two"},
        ],
        "folders": [{"name": "etc", "paths": ["/etc"]}],
    }
    assert Site.model_validate(content).servers() == {"one": ("app", "crm"), "two": ("log",), "files": ("etc",)}


def test_the_fingerprint_follows_the_settings_not_the_layout(tmp_path: Path) -> None:
    site = load_site(write(tmp_path, MINIMAL))
    reordered = load_site(write(tmp_path, dict(reversed(MINIMAL.items())), "again.yaml"))
    changed = load_site(write(tmp_path, {**MINIMAL, "retention": {"daily": 8}}, "changed.yaml"))
    assert site.fingerprint == reordered.fingerprint != changed.fingerprint


def test_the_json_schema_knows_every_section() -> None:
    schema = TypeAdapter(Site).json_schema()
    assert json.dumps(schema)
    assert schema["additionalProperties"] is False
    assert {"databases", "caches", "folders", "retention", "store"} <= schema["properties"].keys()


def test_the_documentation_holds_every_setting_and_says_what_it_is() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "site_file.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- made by: upkeep schema --markdown -->\n(.*?)\n<!-- end -->", text, re.S)
    assert found
    assert found[1] == reference(), "run: upkeep schema --markdown"
    assert [line for line in found[1].splitlines()[2:] if line.endswith("|  |")] == [], "give it a description"
