"""A namespace with one of everything that a backup of manifests can get wrong."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes import client

from tests.servers.kubernetes_cluster import Namespace, deployment
from upkeep.engines.kubernetes_objects import ask, kinds_of

EVERY_BYTE = bytes(range(256))
TRICKY = {
    "a-number": "1e3",
    "a-bool": "yes",
    "octal": "0o14",
    "a-time": "12:30:00",
    "a-date": "2026-11-22",
    "null": "~",
    "empty": "",
    "leading-spaces": "  two\n one\n",
    "trailing-spaces": "line  \n\n\n",
    "no-newline-at-end": "a\nb",
    "windows": "a\r\nb\r\n",
    "tabs": "a:\tb\n\tc\n",
    "colon": "key: value # no comment",
    "quotes": "'\"\\",
    "chinese": "幼儿园 🧒\n第二行\n",
    "separators": "next\u2028line\u0085paragraph",
    "yaml": "---\napiVersion: v1\n...\n",
    "percent": "%TAG",
    "at": "@here",
    "bang": "!tag",
    "dash": "- item",
    "control": "bell \a, delete \x7f, byte order \ufeff",
}
NODE_PORT = 30000 + secrets.randbelow(2700)
"""Another one in each run: node ports are the whole cluster's."""
CRD_GROUP = "tests.upkeep.example"


def fill(namespace: Namespace) -> None:
    """Returns once the controllers have made theirs: pods, replica sets, endpoints, a finished job."""
    for manifest in _objects():
        _create(namespace, manifest)
    namespace.wait_until_available("web", 2)
    batch = client.BatchV1Api(namespace.api)
    namespace.wait_for(
        "the migration has ended",
        lambda: bool(batch.read_namespaced_job("migrate", namespace.name).status.completion_time),
    )


@contextmanager
def crd(namespace: Namespace) -> Iterator[str]:
    """A kind of its own in the cluster; yields its plural. Make the namespace's instance with ``create_menu``."""
    word = f"menus{secrets.token_hex(3)}"
    names = {"plural": word, "singular": word[:-1], "kind": word.capitalize(), "listKind": f"{word.capitalize()}List"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    api = client.ApiextensionsV1Api(namespace.api)
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    api.create_custom_resource_definition(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{word}.{CRD_GROUP}"},
            "spec": {"group": CRD_GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
        }
    )
    try:
        namespace.wait_for("the kind is served", lambda: _is_served(namespace, word))
        yield word
    finally:
        if _has_menu(namespace, word):  # its finalizer would keep the kind and the namespace for ever
            remove_menu(namespace, word)
        api.delete_custom_resource_definition(f"{word}.{CRD_GROUP}")
        namespace.wait_for("the kind is gone", lambda: not _is_known(namespace, word))


def _is_served(namespace: Namespace, plural: str) -> bool:
    try:
        client.CustomObjectsApi(namespace.api).list_namespaced_custom_object(CRD_GROUP, "v1", namespace.name, plural)
    except client.ApiException:
        return False
    return True


def _is_known(namespace: Namespace, plural: str) -> bool:
    """Whether discovery still tells of it, which it does for a moment after it can't be listed any more."""
    try:
        return any(kind.plural == plural for kind in kinds_of(namespace.api, CRD_GROUP, "v1"))
    except client.ApiException as error:
        if error.status != 404:
            raise
        return False


def _has_menu(namespace: Namespace, plural: str) -> bool:
    path = f"/apis/{CRD_GROUP}/v1/namespaces/{namespace.name}/{plural}"
    return bool(ask(namespace.api, "GET", path)["items"])


def create_menu(namespace: Namespace, plural: str) -> None:
    body = {
        "apiVersion": f"{CRD_GROUP}/v1",
        "kind": plural.capitalize(),
        "metadata": {"name": "monday", "finalizers": ["example.com/kept"]},
        "spec": {"dishes": ["饺子", "soup"], "price": 1.5, "deep": {"on": True}},
    }
    client.CustomObjectsApi(namespace.api).create_namespaced_custom_object(
        CRD_GROUP, "v1", namespace.name, plural, body
    )


def remove_menu(namespace: Namespace, plural: str) -> None:
    path = f"/apis/{CRD_GROUP}/v1/namespaces/{namespace.name}/{plural}/monday"
    without = {"metadata": {"finalizers": None}}
    ask(namespace.api, "PATCH", path, body=without, content_type="application/merge-patch+json")
    ask(namespace.api, "DELETE", path)


def _create(namespace: Namespace, manifest: dict[str, Any]) -> None:
    group, _, version = manifest["apiVersion"].rpartition("/")
    root = f"/apis/{group}/{version}" if group else "/api/v1"
    plural = {"Ingress": "ingresses", "Endpoints": "endpoints"}.get(manifest["kind"], manifest["kind"].lower() + "s")
    if plural.endswith("ys"):
        plural = plural[:-2] + "ies"

    def created() -> bool:
        try:
            ask(namespace.api, "POST", f"{root}/namespaces/{namespace.name}/{plural}", body=manifest)
        except client.ApiException as error:
            if error.status != 500:  # a pod's service account has no token yet
                raise
            return False
        return True

    namespace.wait_for(f"{manifest['kind']} is made", created)


def _objects() -> Iterator[dict[str, Any]]:
    yield {
        **_object("v1", "ConfigMap", "tricky"),
        "data": TRICKY,
        "binaryData": {"every-byte": base64.b64encode(EVERY_BYTE).decode()},
    }
    # Its JSON doesn't fit into the annotation in which kubectl keeps what it applied.
    yield {**_object("v1", "ConfigMap", "large"), "data": {"page": "<p>幼儿园</p>\n" * 15_000}}
    yield {**_object("v1", "Secret", "login"), "data": {"password": base64.b64encode(b"s3cret-of-the-site").decode()}}
    yield deployment("web", "web:1", replicas=2)
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    yield {
        **_object("apps/v1", "StatefulSet", "db"),
        "spec": {
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "db", "image": "db:1"}]},
            },
            "volumeClaimTemplates": [claim],
        },
    }
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    yield {**_object("v1", "Service", "web"), "spec": {"selector": {"app": "web"}, "ports": ports}}
    yield {**_object("v1", "Service", "db"), "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": ports}}
    applied = {"spec": {"ports": [{"nodePort": NODE_PORT, "port": 80, "name": "http"}]}}
    yield {
        **_object("v1", "Service", "public", {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(applied)}),
        "spec": {"type": "NodePort", "ports": [*applied["spec"]["ports"], {"name": "other", "port": 81}]},
    }
    yield {**_object("v1", "Service", "outside"), "spec": {"ports": ports}}
    yield {
        **_object("v1", "Endpoints", "outside"),
        "subsets": [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"name": "http", "port": 8080}]}],
    }
    yield {**_object("v1", "PersistentVolumeClaim", "uploads"), "spec": claim["spec"]}
    backend = {"service": {"name": "web", "port": {"name": "http"}}}
    rule = {
        "host": "kindergarten.example",
        "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
    }
    yield {**_object("networking.k8s.io/v1", "Ingress", "web"), "spec": {"rules": [rule]}}
    for name, image in (("migrate", "migrate:1"), ("import", "hang:1")):
        pod = {"restartPolicy": "Never", "containers": [{"name": name, "image": image}]}
        yield {**_object("batch/v1", "Job", name), "spec": {"template": {"spec": pod}}}
    pod = {"restartPolicy": "Never", "containers": [{"name": "nightly", "image": "nightly:1"}]}
    yield {
        **_object("batch/v1beta1", "CronJob", "nightly"),
        "spec": {"schedule": "0 4 * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
    }
    yield {
        **_object("policy/v1beta1", "PodDisruptionBudget", "web"),
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }
    yield {
        **_object("autoscaling/v1", "HorizontalPodAutoscaler", "web"),
        "spec": {
            "maxReplicas": 4,
            "minReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        },
    }
    yield _object("v1", "ServiceAccount", "reader")
    yield {
        **_object("rbac.authorization.k8s.io/v1", "Role", "reader:pods"),
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
    }
    yield {
        **_object("rbac.authorization.k8s.io/v1", "RoleBinding", "reader:pods"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader:pods"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader"}],
    }
    yield {
        **_object("v1", "Pod", "toolbox"),
        "spec": {"serviceAccountName": "reader", "containers": [{"name": "shell", "image": "shell:1"}]},
    }


def _object(version: str, kind: str, name: str, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "labels": {"site": "kindergarten"}, "annotations": annotations or {}},
    }
