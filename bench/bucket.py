"""An OSS server in a process of its own, so that its memory and time aren't taken for Upkeep's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bench import ROOT, environment
from tests.servers.oss_server import OssServer
from upkeep.domain.endpoint import Endpoint


@contextmanager
def bucket(folder: Path) -> Iterator[tuple[str, Endpoint]]:
    """A bucket's URL, and what an Airflow connection to it holds. The server ends with the block, or with us."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bucket", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    with process:
        if process.stdout is None or process.stdin is None:
            raise RuntimeError("Popen gave no pipes")
        said = json.loads(process.stdout.readline())
        yield said["url"], Endpoint(**said["endpoint"])
        process.stdin.close()  # what it waits for


def main() -> None:
    with OssServer(Path(sys.argv[1])) as server:
        said = {"url": f"oss://{server.bucket}/bench", "endpoint": asdict(server.endpoint())}
        print(json.dumps(said), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
