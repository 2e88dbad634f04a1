"""Where a backup of manifests is proven: the namespace itself, by the server's dry run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from upkeep.domain.manifest import Manifest
from upkeep.duties.job import Job
from upkeep.duties.read_back import Streams
from upkeep.duties.scratch import NoScratch, Restored, Scratch
from upkeep.engines.manifests_apply import dry_run, may_apply
from upkeep.errors import RestoreUnavailable, SourceError
from upkeep.site import Cluster


class ClusterScratch(Scratch):
    """The API makes all of its checks (schema, admission, quota, immutable fields) and changes nothing."""

    def __init__(self, job: Job, target: str, section: Cluster) -> None:
        super().__init__(job, target)
        self._namespace, self._endpoint = section.namespace, job.connect(section.conn_id)
        self.secrets = self._endpoint.secrets()
        try:
            allowed = may_apply(self._endpoint, section.namespace)
        except SourceError as error:
            raise RestoreUnavailable(error.message, hint=error.hint) from error
        if not allowed:
            raise NoScratch(
                f"the account of connection {section.conn_id} may not patch in namespace {section.namespace}, so its "
                "manifests are never applied to prove them",
                hint="include/kubernetes/backup_proof.yaml has the rights, and says what they mean",
            )

    @property
    def place(self) -> str:
        return f"namespace {self._namespace}, with the server's dry run"

    def check(self, manifest: Manifest, plain_bytes: int, *, beside: int = 0) -> list[str]:
        return []  # nothing is stored

    @contextmanager
    def standing(self, manifest: Manifest, streams: Streams, restored: Restored) -> Iterator[None]:
        contents = manifest.contents
        objects = int(contents["objects"])
        with restored.timed("load"), closing(streams.read(manifest.files[0].stream)) as chunks:
            applied = dry_run(self._endpoint, self._namespace, chunks, index=str(contents["index"]))
        restored.share_out(streams)
        restored.differences += applied.refused
        restored.notes += applied.notes
        restored.figures = {"objects": applied.objects, "not_tried": applied.not_tried}
        if not applied.objects and not applied.refused:
            raise RestoreUnavailable(
                f"none of {objects} objects could be tried: {applied.notes[0] if applied.notes else 'there is none'}",
                hint="include/kubernetes/backup_proof.yaml has the rights that a dry run needs",
            )
        yield

    def _names(self) -> list[str]:
        return []  # a dry run leaves nothing behind

    def _take_away(self, name: str) -> None:
        return
