"""Which objects of a namespace are worth keeping, and what of each: pure, on the API's own JSON.

What the cluster makes by itself (pods of a ReplicaSet, tokens, endpoints of a Service) is left out with a reason: taken
back, it would stand beside what the cluster makes anew. What the server fills in (status, uid, cluster IP) is cut out:
it would keep ``kubectl apply`` from taking the object back.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

Manifest = dict[str, Any]

KINDS_LEFT_OUT = {
    ("", "Event"): "events are history",
    ("events.k8s.io", "Event"): "events are history",
    ("coordination.k8s.io", "Lease"): "leases are renewed every few seconds by whoever holds them",
    ("cilium.io", "CiliumEndpoint"): "made by the network for each pod",
}
"""By group and kind, with the reason."""
GROUPS_LEFT_OUT = {"metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io"}
"""Groups that answer with figures rather than objects."""
TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a type's name
SERVICE_ACCOUNT_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
LONGEST_NAME = 240
"""Names may have 253 letters, and ``.yaml`` has to fit into the 255 bytes of a file system's as well."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
OWN_NAME = "kubernetes.io/metadata.name"
"""A label that each namespace has, and that the API sets."""

_SERVER_SIDE = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
_BOUND = re.compile(
    r"pv\.kubernetes\.io/.*|volume(\.beta)?\.kubernetes\.io/(storage-provisioner|selected-node)"
    r"|deployment\.kubernetes\.io/.*|control-plane\.alpha\.kubernetes\.io/leader|endpoints\.kubernetes\.io/.*"
    r"|autoscaling\.alpha\.kubernetes\.io/(conditions|current-metrics)|batch\.kubernetes\.io/job-tracking"
    r"|deprecated\.daemonset\.template\.generation|cni\.projectcalico\.org/.*|k8s\.v1\.cni\.cncf\.io/networks?-status"
)
"""Annotations in which controllers keep what is true now: volumes, revisions, the status of version 1 autoscalers."""
_JOB_LABELS = (
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
)


@dataclass(frozen=True)
class Owner:
    """Who made an object."""

    uid: str
    kind: str
    name: str


@dataclass
class Surroundings:
    """What has to be known of a namespace before one of its objects can be judged."""

    uids: set[str] = field(default_factory=set)
    """Every object of a kind that is kept."""
    selecting_services: set[str] = field(default_factory=set)
    """Services whose endpoints the cluster fills in."""


@dataclass(frozen=True)
class Verdict:
    """``place``: the folder of the archive, none when the object is left out; ``reason``: why not simply ``objects``.

    ``pods`` are taken back after everything else, since the API refuses one whose ServiceAccount isn't there yet; what
    is ``finished`` only by a person's choice.
    """

    place: Literal["objects", "pods", "finished", ""]
    reason: str = ""


def controller_of(metadata: Mapping[str, Any]) -> Owner | None:
    """Who makes the object again when it is gone. An owner that isn't a controller only takes it along when it goes."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return Owner(str(owner["uid"]), str(owner["kind"]), str(owner["name"]))
    return None


def kind_left_out(group: str, kind: str, *, with_secrets: bool) -> str:
    """The reason why no object of a kind is kept, or nothing."""
    if group in GROUPS_LEFT_OUT:
        return "figures, not objects"
    if (group, kind) == ("", "Secret") and not with_secrets:
        return "cluster.secrets is off in the site file"
    return KINDS_LEFT_OUT.get((group, kind), "")


def judge(manifest: Mapping[str, Any], around: Surroundings) -> Verdict:
    """Keep an object or not."""
    metadata, kind = manifest["metadata"], manifest["kind"]
    controller = controller_of(metadata)
    if metadata.get("deletionTimestamp"):
        return Verdict("", "it is being deleted")
    if controller and controller.uid in around.uids:
        return Verdict("", f"{controller.kind} makes it")
    match kind:
        case "Secret" if manifest.get("type") == TOKEN:
            return Verdict("", "the cluster makes a new token")
        case "ConfigMap" if metadata["name"] == "kube-root-ca.crt":
            return Verdict("", "each cluster puts its own certificate there")
        case "Endpoints" if metadata["name"] in around.selecting_services:
            return Verdict("", "Service makes it")
        case "Job" if any(
            condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True"
            for condition in (manifest.get("status") or {}).get("conditions") or ()
        ):
            return Verdict("finished", "it has ended: taken back, it would run a second time")
        case "Pod" if (manifest.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return Verdict("finished", "it has ended: taken back, it would run a second time")
        case "Pod":
            return Verdict("pods", "nothing makes it again")
    return Verdict("objects")


def cleaned(manifest: Mapping[str, Any]) -> Manifest:
    """The object as a person would have written it, for ``kubectl apply`` into any namespace."""
    clean = deepcopy(dict(manifest))
    clean.pop("status", None)
    clean["metadata"] = _metadata(clean["metadata"])
    spec = clean.get("spec")
    if isinstance(spec, dict):
        _clean_spec(clean, spec)
    if clean["kind"] == "ServiceAccount":
        _without_tokens(clean)
    return clean


def cleaned_namespace(namespace: Mapping[str, Any]) -> Manifest | None:
    """Its own labels and annotations, which say for instance what its pods may do (pod-security.kubernetes.io/enforce);
    None where it has none but those of the cluster.
    """
    metadata = _metadata(namespace["metadata"])
    own = {
        kind: {name: value for name, value in metadata.get(kind, {}).items() if name not in (OWN_NAME, LAST_APPLIED)}
        for kind in ("labels", "annotations")
    }
    kept = {kind: values for kind, values in own.items() if values}
    # No finalizers: the controller that takes them away may not be there.
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": metadata["name"], **kept}} if kept else None


def _clean_spec(clean: Manifest, spec: Manifest) -> None:
    for template in (spec.get("template"), (spec.get("jobTemplate") or {}).get("spec", {}).get("template")):
        if isinstance(template, dict) and isinstance(template.get("metadata"), dict):
            template["metadata"].pop("creationTimestamp", None)
    if isinstance(spec.get("jobTemplate"), dict):
        spec["jobTemplate"].get("metadata", {}).pop("creationTimestamp", None)
    match clean["kind"], str(clean["apiVersion"]):
        case "Service", "v1":
            _clean_service(clean, spec)
        case "PersistentVolumeClaim", "v1":
            spec.pop("volumeName", None)
        case "Pod", "v1":
            _clean_pod(spec)
        case "Job", version if version.startswith("batch/") and not spec.get("manualSelector"):
            spec.pop("selector", None)
            for labels in (clean["metadata"].get("labels"), spec["template"].get("metadata", {}).get("labels")):
                for label in _JOB_LABELS if labels else ():
                    labels.pop(label, None)
        case "StatefulSet", version if version.startswith("apps/"):
            for claim in spec.get("volumeClaimTemplates") or ():
                claim.pop("status", None)
                claim["metadata"].pop("creationTimestamp", None)


def _metadata(metadata: Mapping[str, Any]) -> Manifest:
    clean = {key: value for key, value in metadata.items() if key not in _SERVER_SIDE}
    annotations = {
        key: value for key, value in (metadata.get("annotations") or {}).items() if not _BOUND.fullmatch(key)
    }
    clean.pop("annotations", None)
    if annotations:
        clean["annotations"] = annotations
    # The control plane sets its own anew; one that came back by itself would keep the object from ever going.
    finalizers = [name for name in metadata.get("finalizers") or () if not _is_control_planes(name)]
    clean.pop("finalizers", None)
    if finalizers:
        clean["finalizers"] = finalizers
    return clean


def _is_control_planes(finalizer: str) -> bool:
    domain = finalizer.partition("/")[0]
    return (
        finalizer in ("foregroundDeletion", "orphan") or domain == "kubernetes.io" or domain.endswith(".kubernetes.io")
    )


def _clean_service(clean: Manifest, spec: Manifest) -> None:
    """A cluster IP belongs to the cluster; ``None`` (headless) is the owner's choice. A node port stays where the owner
    wrote it, since a load balancer outside leads there."""
    if spec.get("clusterIP") != "None":
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
    spec.pop("healthCheckNodePort", None)
    chosen = _applied_node_ports(clean["metadata"])
    for port in spec.get("ports") or ():
        if port.get("nodePort") not in chosen:
            port.pop("nodePort", None)


def _applied_node_ports(metadata: Mapping[str, Any]) -> Collection[int]:
    try:
        applied = json.loads((metadata.get("annotations") or {}).get(LAST_APPLIED, "{}"))
        return {port["nodePort"] for port in applied["spec"]["ports"] if "nodePort" in port}
    except (ValueError, KeyError, TypeError):
        return ()


def _clean_pod(spec: Manifest) -> None:
    """A pod that nobody controls: the node it ran on and the token it was given are those of that day."""
    spec.pop("nodeName", None)
    containers = [
        container
        for kind in ("containers", "initContainers", "ephemeralContainers")
        for container in spec.get(kind) or ()
    ]
    tokens = {
        mount["name"]
        for container in containers
        for mount in container.get("volumeMounts") or ()
        if mount.get("mountPath") == SERVICE_ACCOUNT_MOUNT and re.search(r"^kube-api-access-|-token-", mount["name"])
    }
    for container in containers:
        if mounts := [mount for mount in container.get("volumeMounts") or () if mount["name"] not in tokens]:
            container["volumeMounts"] = mounts
        else:
            container.pop("volumeMounts", None)
    if volumes := [volume for volume in spec.get("volumes") or () if volume["name"] not in tokens]:
        spec["volumes"] = volumes
    else:
        spec.pop("volumes", None)
    spec.pop("ephemeralContainers", None)  # a debugger's; the API takes them only through a door of their own


def _without_tokens(clean: Manifest) -> None:
    """Kubernetes up to 1.23 makes a token for every account and names it here."""
    prefix = f"{clean['metadata']['name']}-token-"
    if kept := [one for one in clean.get("secrets") or () if not str(one.get("name", "")).startswith(prefix)]:
        clean["secrets"] = kept
    else:
        clean.pop("secrets", None)


def place_of(group: str, kind: str, name: str, *, folder: str) -> str:
    """The object's file in the archive. The API takes no slash in a name, nor ``.`` and ``..`` for one."""
    if len(name.encode()) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 20]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return f"{folder}/{group or 'core'}/{kind}/{name}.yaml"
