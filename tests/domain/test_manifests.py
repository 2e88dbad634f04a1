"""Which objects of a namespace are kept, and what of each."""

from __future__ import annotations

from typing import Any

import pytest

from upkeep.domain.manifests import Surroundings, cleaned, cleaned_namespace, judge, kind_left_out, place_of

CONTROLLER = [{"uid": "1", "kind": "ReplicaSet", "name": "web-1", "controller": True}]


def an(kind: str, *, version: str = "v1", metadata: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "x", "uid": "9", **(metadata or {})}, **rest}


def around() -> Surroundings:
    return Surroundings(uids={"1"}, selecting_services={"x"})


@pytest.mark.parametrize(
    ("manifest", "place", "reason"),
    [
        (an("ConfigMap"), "objects", ""),
        (an("Pod"), "pods", "nothing makes it again"),
        (an("Pod", status={"phase": "Succeeded"}), "finished", "run a second time"),
        (an("Pod", metadata={"ownerReferences": CONTROLLER}), "", "ReplicaSet makes it"),
        # Its controller isn't kept (another namespace's, a forbidden kind), so nothing would make it again.
        (an("Secret", metadata={"ownerReferences": [{**CONTROLLER[0], "uid": "2"}]}), "objects", ""),
        # An owner that is not a controller takes it along when it goes; it doesn't make it again.
        (an("ConfigMap", metadata={"ownerReferences": [{**CONTROLLER[0], "controller": False}]}), "objects", ""),
        (an("ConfigMap", metadata={"deletionTimestamp": "2026-11-22T00:00:00Z"}), "", "being deleted"),
        (an("ConfigMap", metadata={"name": "kube-root-ca.crt"}), "", "its own certificate"),
        (an("Secret", type="kubernetes.io/service-account-token"), "", "a new token"),
        (an("Endpoints"), "", "Service makes it"),
        (an("Endpoints", metadata={"name": "by-hand"}), "objects", ""),
        (an("Job", status={"conditions": [{"type": "Complete", "status": "True"}]}), "finished", "a second time"),
        (an("Job", status={"conditions": [{"type": "Failed", "status": "True"}]}), "finished", "a second time"),
        (an("Job", status={"active": 1}), "objects", ""),
    ],
)
def test_an_object_is_kept_unless_the_cluster_makes_it_again(manifest: dict[str, Any], place: str, reason: str) -> None:
    verdict = judge(manifest, around())
    assert verdict.place == place
    assert reason in verdict.reason


def test_secrets_are_kept_only_where_the_site_asks_for_it() -> None:
    assert kind_left_out("", "Secret", with_secrets=False)
    assert not kind_left_out("", "Secret", with_secrets=True)
    assert kind_left_out("coordination.k8s.io", "Lease", with_secrets=True)
    assert not kind_left_out("example.com", "Event", with_secrets=False)


def test_what_the_server_filled_in_is_cut_out_and_the_rest_stays() -> None:
    metadata = {
        "name": "x",
        "namespace": "kindergarten",
        "labels": {"a": "b"},
        "annotations": {
            "pv.kubernetes.io/bind-completed": "yes",
            "volume.kubernetes.io/selected-node": "n1",
            "autoscaling.alpha.kubernetes.io/conditions": "[]",
            "owner": "me",
        },
        "finalizers": ["kubernetes.io/pvc-protection", "example.com/kept"],
        **dict.fromkeys(("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"), "set"),
        "ownerReferences": CONTROLLER,
    }
    claim = an(
        "PersistentVolumeClaim", metadata=metadata, spec={"volumeName": "pv-1", "accessModes": ["RWO"]}, status={}
    )
    assert cleaned(claim) == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "x",
            "labels": {"a": "b"},
            "annotations": {"owner": "me"},
            "finalizers": ["example.com/kept"],
        },
        "spec": {"accessModes": ["RWO"]},
    }
    assert claim["spec"]["volumeName"] == "pv-1", "the object itself is left alone"


def test_of_a_namespace_its_own_labels_and_annotations_are_kept() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "kubernetes.io/metadata.name": "x"}
    annotations = {"owner": "me", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    metadata = {"labels": labels, "annotations": annotations, "finalizers": ["example.com/kept"]}
    rest: dict[str, Any] = {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    assert cleaned_namespace(an("Namespace", metadata=metadata, **rest)) == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "x",
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            "annotations": {"owner": "me"},
        },
    }
    assert cleaned_namespace(an("Namespace", metadata={"labels": {"kubernetes.io/metadata.name": "x"}})) is None


def test_a_pod_loses_its_node_and_its_token_but_no_volume_of_its_own() -> None:
    mounts = [
        {"name": "kube-api-access-x7x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
        {"name": "data", "mountPath": "/data"},
    ]
    spec = {
        "nodeName": "n1",
        "volumes": [{"name": "kube-api-access-x7x"}, {"name": "data"}],
        "containers": [{"name": "a", "volumeMounts": mounts}, {"name": "b", "volumeMounts": mounts[:1]}],
    }
    assert cleaned(an("Pod", spec=spec))["spec"] == {
        "volumes": [{"name": "data"}],
        "containers": [{"name": "a", "volumeMounts": mounts[1:]}, {"name": "b"}],
    }


def test_a_job_whose_selector_a_person_wrote_keeps_it() -> None:
    template = {"metadata": {"labels": {"controller-uid": "1", "job-name": "x", "mine": "1"}}}
    spec = {"selector": {"matchLabels": {"controller-uid": "1"}}, "template": template}
    made = cleaned(an("Job", version="batch/v1", spec=spec))
    assert made["spec"] == {"template": {"metadata": {"labels": {"mine": "1"}}}}
    by_hand = {**spec, "manualSelector": True}
    assert cleaned(an("Job", version="batch/v1", spec=by_hand))["spec"] == by_hand


def test_every_name_the_api_takes_fits_into_a_file_system() -> None:
    long = "a" * 253
    place = place_of("", "ConfigMap", long, folder="objects")
    assert len(place.rpartition("/")[2]) <= 255
    assert place != place_of("", "ConfigMap", long[:-1] + "b", folder="objects")
    assert place_of("apps", "Deployment", "web", folder="objects") == "objects/apps/Deployment/web.yaml"
