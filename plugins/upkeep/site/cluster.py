"""A namespace of a Kubernetes cluster, and the Deployments in it."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from upkeep.site.fields import ConnId, Name, Strict


class Deployment(Strict):
    """A Deployment that rolling_update may change, and what must hold before and after."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")] = Field(
        description="its name in the namespace"
    )
    container: str | None = Field(None, description="whose image is set; default: the pod's only container")
    after: list[str] = Field(default_factory=list, description="deployments that must be updated and healthy first")
    timeout_s: int = Field(300, ge=10, le=7200, description="how long one rollout may take")
    health_url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")] | None = Field(
        None, description="must answer as well after the rollout as it did before"
    )
    approve_scale: bool = Field(True, description="scaling it waits for a person, whatever cluster.approval says")


LookedAt = Literal[
    "pods", "services", "persistentvolumeclaims", "deployments", "statefulsets", "daemonsets", "jobs", "nodes",
    "certificates", "events", "metrics",
]  # fmt: skip


class Cluster(Strict):
    """One namespace of a Kubernetes cluster. Its manifests are a target like any other, under ``name``."""

    name: Name = "manifests"
    conn_id: ConnId
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")] = Field(
        description="the one that is looked at, kept and changed"
    )
    secrets: bool = Field(False, description="keep Secrets with the manifests; only with encryption")
    deployments: list[Deployment] = Field(default_factory=list, description="what may be updated, restarted, scaled")
    settle_s: int = Field(30, ge=0, le=3600, description="how long the health gates must hold after a rollout")
    approval: bool = Field(True, description="a rollout, undo or restart waits for a person; not scale")
    approvers: list[str] = Field(default_factory=list, description="who may approve; as approval.approvers")
    approval_timeout_h: float = Field(4, gt=0, le=72, description="after which an unanswered request is a no")
    certificate_days: int = Field(21, ge=0, description="report a TLS secret whose certificate ends sooner")
    leave_out: list[LookedAt] = Field(
        default_factory=list, description="what check_cluster and sample_capacity don't look at, so don't remark either"
    )

    @model_validator(mode="after")
    def _deployments_can_be_ordered(self) -> Cluster:
        names = [deployment.name for deployment in self.deployments]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"deployments are listed twice: {', '.join(twice)}")
        before = {deployment.name: list(deployment.after) for deployment in self.deployments}
        if unknown := sorted({name for after in before.values() for name in after} - set(names)):
            raise ValueError(f"after names deployments that are not listed: {', '.join(unknown)}")
        try:
            TopologicalSorter(before).prepare()
        except CycleError as error:
            raise ValueError(f"deployments wait for each other: {' after '.join(error.args[1])}") from error
        return self
