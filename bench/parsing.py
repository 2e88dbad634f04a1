"""How long Airflow takes to read ``dags/`` with fifty sites, on top of importing Airflow itself."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench import ROOT, environment
from bench.measure import Verdict, markdown, tell, wait_for_quiet

SITES = 50
AT_MOST_S = 2.0
DAGS = ROOT / "dags"
SAMPLES = ROOT / "include" / "sites"


def run(*, rounds: int) -> list[Verdict]:
    with tempfile.TemporaryDirectory(prefix="upkeep-bench-") as name:
        folder = Path(name)
        sites = folder / "sites"
        sites.mkdir()
        _write_sites(sites)
        around = environment(
            PYTHONDONTWRITEBYTECODE="",
            UPKEEP_SITES=str(sites),
            AIRFLOW_HOME=str(folder),
            AIRFLOW__CORE__DAGS_FOLDER=str(DAGS),
            AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "plugins"),
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{folder / 'airflow.db'}",
        )
        _parse(DAGS, around)  # writes the bytecode
        whole, single = [], []
        for number in range(1, rounds + 1):
            wait_for_quiet()
            whole.append(_parse(DAGS, around))
            single.append([_parse(path, around) for path in _dag_files()])
            tell(f"  round {number}/{rounds}: dags/ with {SITES} sites in {whole[-1]['parse_s']:.2f} s")
    folder_s = statistics.median(each["parse_s"] for each in whole)
    apart_s = statistics.median(sum(each["parse_s"] for each in files) for files in single)
    importing = statistics.median(each["import_s"] for each in whole)
    rows = [
        ("importing Airflow", f"{importing:.2f}", ""),
        (f"dags/ with {SITES} sites, one process", f"{folder_s:.2f}", f"{whole[0]['dags']:.0f}"),
    ]
    for place, path in enumerate(_dag_files()):
        seconds = statistics.median(files[place]["parse_s"] for files in single)
        rows.append((f"{path.name} in a process of its own", f"{seconds:.2f}", f"{single[0][place]['dags']:.0f}"))
    rows.append(("all of them, a process each, summed", f"{apart_s:.2f}", ""))
    print(f"\n### Parsing\n\n{markdown(('what', 's (median)', 'DAGs'), rows)}\n")
    named = f"Parsing dags/ with {SITES} sites"
    return [Verdict(named, f"{folder_s:.2f} s", f"below {AT_MOST_S:g} s", folder_s < AT_MOST_S)]


def _write_sites(folder: Path) -> None:
    """The two sample sites, over and over under other names."""
    samples = sorted(SAMPLES.glob("*.yaml"))
    for number in range(SITES):
        sample = samples[number % len(samples)]
        text = sample.read_text(encoding="utf-8")
        name = f"{sample.stem}_{number:02d}"
        (folder / f"{name}.yaml").write_text(text.replace(f"name: {sample.stem}", f"name: {name}", 1), encoding="utf-8")


def _dag_files() -> list[Path]:
    return sorted(DAGS.glob("*.py"))


def _parse(path: Path, around: Mapping[str, str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.parse_once", str(path)],
        stdout=subprocess.PIPE, text=True, env=dict(around), cwd=ROOT, check=True,
    )  # fmt: skip
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures
