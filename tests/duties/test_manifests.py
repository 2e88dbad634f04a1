"""The manifests of a namespace as a target: what is kept, how it comes back, and what the proof finds."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.duties.namespace_scene import CRD_GROUP, EVERY_BYTE, NODE_PORT, TRICKY, crd, create_menu, fill, remove_menu
from tests.duties.site_factory import SiteFactory
from tests.engines.restoring import AgeKey, age_key, run_line
from tests.servers.kubernetes_accounts import account
from tests.servers.kubernetes_cluster import KUBECONFIG, Namespace, deployment, new_namespace
from upkeep.domain.manifest import Manifest
from upkeep.domain.proof import ProofLevel
from upkeep.duties.catalogue import read_catalogue
from upkeep.duties.prove import prove
from upkeep.duties.verify import verify
from upkeep.engines import kubernetes_objects
from upkeep.engines.kubernetes_objects import discover, pages
from upkeep.engines.manifest_text import to_yaml
from upkeep.engines.manifests_apply import dry_run
from upkeep.engines.manifests_check import ManifestsCheck
from upkeep.errors import ProofFailed, SourceError

OF_THE_NAMESPACE = {
    "labels": {"pod-security.kubernetes.io/enforce": "baseline", "site": "kindergarten"},
    "annotations": {"owner": "王小明 <wang@kindergarten.example>"},
}
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "good"}, "data": {"a": "b"}}


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[Namespace, str]]:
    """A namespace with everything in it, and the plural of a kind of its own."""
    if not os.environ.get(KUBECONFIG):
        pytest.skip(f"{KUBECONFIG} isn't set")
    with new_namespace() as namespace, crd(namespace) as plural:
        namespace.core.patch_namespace(namespace.name, {"metadata": OF_THE_NAMESPACE})
        create_menu(namespace, plural)
        fill(namespace)
        yield namespace, plural


@pytest.fixture
def key(tmp_path: Path) -> AgeKey:
    (tmp_path / "key").mkdir()
    return age_key(tmp_path / "key")


@pytest.fixture
def kubectl() -> str:
    if not (path := shutil.which("kubectl")):
        pytest.skip("no kubectl: apt-get install kubernetes-client")
    return path


def archive(folder: Path, *, key: Path | None = None) -> dict[str, bytes]:
    """The members of the backup in ``folder``, unpacked by stock programs."""
    (file,) = folder.glob("manifests.tar.zst*")
    plain = file.read_bytes()
    if key:
        plain = subprocess.run(["age", "-d", "-i", key], input=plain, check=True, capture_output=True).stdout
    plain = subprocess.run(["zstd", "-d", "-c"], input=plain, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
    return {name: file.read() if file else b"" for name, file in files.items()}


def level(sites: SiteFactory, manifest: Manifest) -> str:
    return str(verify(sites.job(), "manifests", manifest.backup.backup_id)["level"])


def everything(namespace: Namespace) -> dict[str, dict[str, Any]]:
    """What a person wrote of each object, by kind and name, without what the cluster makes by itself."""
    found: dict[str, dict[str, Any]] = {}
    for kind in discover(namespace.api, []):
        if kind.kind in ("Event", "Lease", "EndpointSlice", "ReplicaSet", "ControllerRevision"):
            continue
        for page in pages(namespace.api, kind, namespace.name):
            for item in page:
                metadata = item["metadata"]
                made = metadata.get("ownerReferences") or item.get("type") == "kubernetes.io/service-account-token"
                made = made or (kind.kind == "Endpoints" and metadata["name"] != "outside")
                if not made and not metadata.get("deletionTimestamp"):
                    found[f"{kind.group}/{kind.kind}/{metadata['name']}"] = as_written(kind.kind, item)
    return found


def as_written(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    """Judged apart from the product's own cleaning: all of the object but what the server puts there."""
    metadata = {key: item["metadata"].get(key) for key in ("name", "labels", "finalizers")}
    whole = {key: value for key, value in item.items() if key not in ("metadata", "status", "apiVersion", "kind")}
    spec = whole.get("spec", {})
    if kind == "Service" and spec["clusterIP"] != "None":
        del spec["clusterIP"]
        spec.pop("clusterIPs", None)
        for port in spec["ports"]:
            if port["name"] == "other":
                port.pop("nodePort", None)
    if kind == "Job":
        del spec["selector"], spec["template"]["metadata"]["labels"]
        metadata["labels"] = {"site": metadata["labels"]["site"]}
    if kind == "Pod":
        spec.pop("nodeName", None)
        for holder in (spec, *spec["containers"]):
            for name in ("volumes", "volumeMounts"):
                holder.pop(name, None)
    if kind == "PersistentVolumeClaim":
        metadata["finalizers"] = None
    if kind == "ServiceAccount":
        whole.pop("secrets", None)
    return {"metadata": metadata, **whole}


def delete(namespace: Namespace, plural: str) -> None:
    """The namespace itself, and all that is in it."""
    remove_menu(namespace, plural)  # its own finalizer would hold the namespace for ever
    namespace.core.delete_namespace(namespace.name, propagation_policy="Background", grace_period_seconds=0)

    def gone() -> bool:
        try:
            namespace.core.read_namespace(namespace.name)
        except client.ApiException as error:
            return bool(error.status == 404)
        return False

    namespace.wait_for("the namespace is gone", gone)


def test_a_deleted_namespace_comes_back_by_the_manifests_own_line_with_stock_programs(
    filled: tuple[Namespace, str],
    sites: SiteFactory,
    key: AgeKey,
    kubectl: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    namespace, plural = filled
    monkeypatch.setattr(kubernetes_objects, "PAGE", 2)
    sites.cluster(namespace.name, namespace.endpoint, secrets=True)
    sites.encrypted(key.public, identity=key.private)
    before = everything(namespace)

    manifest = sites.back_up("manifests")
    assert manifest.warnings == ()
    assert manifest.contents["objects"] == len(before) - 1  # each namespace's kube-root-ca.crt is its cluster's
    assert level(sites, manifest) == "structure"

    folder = sites.fetch(manifest, tmp_path / "restore")
    assert b"s3cret-of-the-site" not in (folder / "manifests.tar.zst.age").read_bytes()
    shutil.copy(key.file, folder / "key.txt")
    left_over = folder / "restored" / "objects"
    left_over.mkdir(parents=True)
    (left_over / "planted.yaml").write_bytes(to_yaml({**CONFIG_MAP, "metadata": {"name": "of-another-backup"}}))
    delete(namespace, plural)
    run_line(manifest.restore, folder, {"KUBECONFIG": os.environ[KUBECONFIG], "HOME": str(tmp_path)})

    namespace.wait_for("its certificate", lambda: "/ConfigMap/kube-root-ca.crt" in everything(namespace))
    after = everything(namespace)
    itself = namespace.core.read_namespace(namespace.name).metadata
    assert OF_THE_NAMESPACE["labels"].items() <= itself.labels.items()
    assert OF_THE_NAMESPACE["annotations"].items() <= itself.annotations.items()
    finished = before.pop("batch/Job/migrate")  # it has run; the line doesn't run it again
    assert after == before
    assert after["/ConfigMap/tricky"]["data"] == TRICKY
    assert base64.b64decode(after["/ConfigMap/tricky"]["binaryData"]["every-byte"]) == EVERY_BYTE
    assert after["/Service/public"]["spec"]["ports"][0]["nodePort"] == NODE_PORT
    (unpacked,) = folder.glob("restored.*")
    kept = yaml.safe_load((unpacked / "finished/batch/Job/migrate.yaml").read_bytes())
    assert kept["spec"]["template"]["spec"] == finished["spec"]["template"]["spec"]
    namespace.wait_until_available("web", 2)
    run_line(manifest.restore, folder, {"KUBECONFIG": os.environ[KUBECONFIG], "HOME": str(tmp_path)})
    assert len(list(folder.glob("restored.*"))) == 2, "once more, into a folder of its own"


def test_the_sample_account_keeps_what_it_may_list_and_names_the_rule_for_what_it_may_not(
    filled: tuple[Namespace, str], sites: SiteFactory, tmp_path: Path
) -> None:
    namespace, plural = filled
    sites.cluster(namespace.name, account(namespace, "backup", folder=tmp_path))

    manifest = sites.back_up("manifests")

    rule = f"{{apiGroups: [{CRD_GROUP}], resources: [{plural}], verbs: [list]}}"
    assert f"{plural} are missing: the account may not list them; add the rule {rule}" in manifest.warnings
    assert plural in " ".join(manifest.contents["forbidden"])
    assert manifest.contents["kinds_left_out"]["secrets"] == "cluster.secrets is off in the site file"
    members = archive(sites.fetch(manifest, tmp_path / "files"))
    assert next(iter(members)) == "index.json"
    assert {"objects/apps/Deployment/web.yaml", "pods/core/Pod/toolbox.yaml"} <= set(members)
    assert yaml.safe_load(members[f"namespace/core/Namespace/{namespace.name}.yaml"])["metadata"] == {
        "name": namespace.name,
        **OF_THE_NAMESPACE,
    }
    assert not [name for name in members if "/Secret/" in name or "/ReplicaSet/" in name]
    index = json.loads(members["index.json"])
    assert "Deployment makes it" in {line["reason"] for line in index["left_out"]}
    assert {entry["path"] for entry in index["objects"]} == set(members) - {"index.json", "end-of-archive"}
    assert level(sites, manifest) == "structure"


def test_an_account_that_may_not_look_at_the_namespace_itself_is_told_what_is_missing(
    namespace: Namespace, sites: SiteFactory, tmp_path: Path
) -> None:
    namespace.create(deployment("web", "web:1"))
    namespace.wait_until_available("web", 1)
    sites.cluster(namespace.name, account(namespace, "pod_exec", folder=tmp_path))
    manifest = sites.back_up("manifests")
    assert "namespace" not in manifest.contents["folders"]
    (told,) = [warning for warning in manifest.warnings if "of the namespace itself are missing" in warning]
    assert 'add the rule {apiGroups: [""], resources: [namespaces], verbs: [get]}' in told


def test_objects_that_nobody_changed_give_the_same_files(
    filled: tuple[Namespace, str], sites: SiteFactory, tmp_path: Path
) -> None:
    """Whatever controllers make, and write into the status, in between."""
    namespace, _ = filled
    sites.cluster(namespace.name, namespace.endpoint)
    first = archive(sites.fetch(sites.back_up("manifests"), tmp_path / "first"))
    namespace.core.delete_collection_namespaced_pod(namespace.name, label_selector="app=web")
    namespace.wait_until_available("web", 2)
    second = archive(sites.fetch(sites.back_up("manifests", "night-2"), tmp_path / "second"))
    assert {**first, "index.json": b""} == {**second, "index.json": b""}


def test_a_list_that_outlives_what_the_cluster_remembers_goes_on_and_says_so(
    filled: tuple[Namespace, str], sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API takes back the place it gave in the list ("410 Gone"), and offers another, of what there is now."""
    namespace, _ = filled
    sites.cluster(namespace.name, namespace.endpoint)
    whole = sites.back_up("manifests").contents["kinds"]
    asked = kubernetes_objects.ask
    aged: list[str] = []

    def of_long_ago(api: client.ApiClient, method: str, path: str, query: Any = None, **rest: Any) -> dict[str, Any]:
        if path.endswith("/configmaps") and (query or {}).get("continue"):
            place = json.loads(base64.urlsafe_b64decode(query["continue"] + "=="))
            if place["rv"] > 0:  # -1 is the place offered instead
                aged.append(path)
                old = base64.urlsafe_b64encode(json.dumps({**place, "rv": 1}).encode()).decode().rstrip("=")
                query = {**query, "continue": old}
        return asked(api, method, path, query, **rest)

    monkeypatch.setattr(kubernetes_objects, "PAGE", 1)
    monkeypatch.setattr(kubernetes_objects, "ask", of_long_ago)
    manifest = sites.back_up("manifests", "night-2")
    assert aged
    if not manifest.warnings:
        pytest.skip("this cluster is so young that it remembers everything")
    assert manifest.contents["kinds"] == whole
    assert set(manifest.warnings) == {"the list of configmaps is not of one moment: it took too long"}


def test_the_weekly_proof_applies_every_object_by_dry_run_and_changes_nothing(
    filled: tuple[Namespace, str], sites: SiteFactory, tmp_path: Path
) -> None:
    namespace, _ = filled
    sites.cluster(namespace.name, account(namespace, "backup", "backup_proof", folder=tmp_path))
    manifest = sites.back_up("manifests")
    level(sites, manifest)
    before = versions(namespace)

    result = prove(sites.job("week-1"), "manifests")

    assert list(result["restored"]) == [manifest.backup.backup_id]
    assert versions(namespace) == before
    assert proven(sites) == ProofLevel.RESTORED
    (path,) = (sites.folder / "store").rglob("*-restored-pass.json")
    figures = json.loads(path.read_text())["figures"]
    assert figures["objects"] == manifest.contents["objects"]
    assert figures["notes"] == []


def test_a_read_only_account_leaves_the_proof_at_structure_and_says_what_it_takes(
    namespace: Namespace, sites: SiteFactory, tmp_path: Path
) -> None:
    sites.cluster(namespace.name, account(namespace, "backup", folder=tmp_path))
    level(sites, sites.back_up("manifests"))

    result = prove(sites.job("week-1"), "manifests")

    assert result["restored"] == {}
    assert "may not patch" in result["reason"]
    assert proven(sites) == ProofLevel.STRUCTURE
    (record,) = sites.job().ledger.acts(site="kindergarten", target="manifests", duty="prove")
    assert record.detail["light"] == "amber"
    assert "backup_proof.yaml" in record.detail["hint"]


def test_a_kind_that_the_cluster_no_longer_serves_fails_the_proof_by_name(
    namespace: Namespace, sites: SiteFactory
) -> None:
    sites.cluster(namespace.name, namespace.endpoint)
    with crd(namespace) as plural:
        create_menu(namespace, plural)
        level(sites, sites.back_up("manifests"))
        remove_menu(namespace, plural)
    with pytest.raises(ProofFailed, match=f"{plural.capitalize()} monday: the cluster no longer serves"):
        prove(sites.job("week-1"), "manifests")


def test_an_object_that_the_api_refuses_is_told_with_its_reason(namespace: Namespace) -> None:
    bad = deployment("bad", "bad:1")
    del bad["spec"]["selector"]
    content, index = packed([CONFIG_MAP, bad])

    applied = dry_run(namespace.endpoint, namespace.name, iter([content]), index=index)

    assert applied.objects == 1
    assert len(applied.refused) == 1
    assert applied.refused[0].startswith("Deployment bad is refused: ")
    assert "selector" in applied.refused[0]
    with pytest.raises(client.ApiException, match="404"):
        namespace.core.read_namespaced_config_map("good", namespace.name)


def test_a_claim_that_was_enlarged_and_a_role_binding_that_was_made_anew_are_notes(namespace: Namespace) -> None:
    volume_spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}

    def claim(size: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "uploads"},
            "spec": {**volume_spec, "resources": {"requests": {"storage": size}}},
        }  # fmt: skip

    def binding(role: str) -> dict[str, Any]:
        role_ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
        return {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "bound"},
            "roleRef": role_ref,
        }  # fmt: skip

    owner = {"namespace": namespace.name, "name": "uploads"}
    of_volume = {**volume_spec, "capacity": {"storage": "2Gi"}, "hostPath": {"path": "/nowhere"}, "claimRef": owner}
    namespace.core.create_persistent_volume({"metadata": {"name": namespace.name}, "spec": of_volume})
    try:
        namespace.create(claim("2Gi"), binding("new"))
        named = ("uploads", namespace.name)
        namespace.wait_for(
            "the claim is bound",
            lambda: namespace.core.read_namespaced_persistent_volume_claim(*named).status.phase == "Bound",
        )
        content, index = packed([CONFIG_MAP, claim("1Gi"), binding("old")])
        applied = dry_run(namespace.endpoint, namespace.name, iter([content]), index=index)
    finally:
        namespace.core.delete_persistent_volume(namespace.name)
    assert (applied.objects, applied.refused) == (1, [])
    assert [note.partition(" differs today")[0] for note in applied.notes] == [
        "PersistentVolumeClaim uploads",
        "RoleBinding bound",
    ]


def test_a_namespace_that_shows_nothing_is_an_error_and_no_empty_backup(
    namespace: Namespace, sites: SiteFactory
) -> None:
    sites.cluster(f"{namespace.name}-mistyped", namespace.endpoint)
    with pytest.raises(SourceError, match="mistyped shows nothing"):
        sites.back_up("manifests")
    assert not list((sites.folder / "store").rglob("manifest.json"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda members: members[:-1], "breaks off"),
        (lambda members: [members[0], *members[2:]], "1 objects of the index are not in the archive"),
        (lambda members: [members[0], (members[1][0], b"kind: Other"), *members[2:]], "another SHA-256"),
        (lambda members: [*members[:2], ("objects/core/Secret/planted.yaml", b"x"), *members[2:]], "not in its index"),
        (lambda members: [("index.json", b"{}"), *members[1:]], "doesn't begin with the index.json"),
    ],
)
def test_the_structure_proof_finds_an_archive_that_is_not_the_one_made(
    damage: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]], told: str
) -> None:
    manifests = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in ("a", "b")]
    content, index = packed(manifests)
    whole = ManifestsCheck(index=index)
    whole.feed(content)
    assert whole.close()["kinds"] == {"ConfigMap": 2}

    check = ManifestsCheck(index=index)
    check.feed(packed(manifests, damage)[0])
    with pytest.raises(ProofFailed, match=told):
        check.close()


def packed(
    manifests: list[dict[str, Any]],
    damage: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]] = lambda members: members,
) -> tuple[bytes, str]:
    """An archive as the engine makes them, and its index's digest."""
    contents = [
        (f"objects/core/{manifest['kind']}/{manifest['metadata']['name']}.yaml", to_yaml(manifest))
        for manifest in manifests
    ]
    entries = [
        {
            "path": path,
            "apiVersion": manifest["apiVersion"],
            "kind": manifest["kind"],
            "name": manifest["metadata"]["name"],
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for manifest, (path, content) in zip(manifests, contents, strict=True)
    ]
    index = json.dumps({"objects": entries}).encode()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in damage([("index.json", index), *contents, ("end-of-archive", b"")]):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue(), hashlib.sha256(index).hexdigest()


def versions(namespace: Namespace) -> dict[str, str]:
    return {
        f"{kind.group}/{kind.kind}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for kind in discover(namespace.api, [])
        if kind.kind not in ("Event", "Lease")
        for page in pages(namespace.api, kind, namespace.name)
        for item in page
    }


def proven(sites: SiteFactory) -> ProofLevel:
    return read_catalogue(sites.job().store, "kindergarten", "manifests").backups[-1].level
