"""Slurm's jobs as submitit runs them on one machine: made to stop in the middle, queued again, and the same bits."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from small_ablation import OPTIONS, ablation, attempts, bits, struck

from research.ablation.cluster import slurm_cluster
from research.ablation.cluster.cluster import Cluster
from research.ablation.cluster.wave_job import Outcome, WaveJob
from research.ablation.run import ablate
from research.errors import UserError

SLURM = Cluster(kind="slurm", cpus=2, waves=1, minutes=30)  # two devices, as here: the same programs
pytestmark = pytest.mark.filterwarnings("ignore:.*:ResourceWarning")


def test_a_job_that_makes_way_goes_on_in_another(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(slurm_cluster, "EXECUTOR", "local")
    monkeypatch.setattr(slurm_cluster, "TICK", 0.1)
    here = ablate(ablation(), ablations=tmp_path / "here", **OPTIONS)  # first, for jobs find what it has compiled
    with struck(signal.SIGUSR2, tmp_path, monkeypatch):
        result = ablate(ablation(), ablations=tmp_path, cluster=SLURM, **OPTIONS)
    assert result.trained == 4 and attempts(result) == [2]
    assert bits(result) == bits(here)


def test_a_machine_without_slurm_is_told(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(UserError, match=r"no srun.*login node"):
        ablate(ablation(), ablations=tmp_path, cluster=SLURM, **OPTIONS)
    assert not (tmp_path / "experiment").exists()


def test_what_is_asked_of_slurm(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("submitit")
    script = tmp_path / "script"
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, text in (("sbatch", f"cat $1 > {script}; echo Submitted batch job 7"), ("srun", ""), ("sacct", "")):
        (tmp_path / name).write_text(f"#!/bin/bash\nexport PATH=/usr/bin:/bin\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "scancel").write_text(f"#!/bin/bash\necho $1 >> {tmp_path}/cancelled\n")
    (tmp_path / "scancel").chmod(0o755)
    wanted = Cluster(kind="slurm", cpus=3, gpus=2, partition="gpu", minutes=90)
    workers = slurm_cluster.SlurmWorkers(wanted, tmp_path / "slurm")
    jobs = [WaveJob("/ablation", name, {}, {}, False, "/", {"XLA_FLAGS": ""}) for name in ("a", "b")]
    with pytest.raises(KeyboardInterrupt):
        list(workers.train(jobs, _interrupt))
    lines = script.read_text()
    for flag in ("array=0-1%2", "cpus-per-task=3", "gpus-per-node=2", "partition=gpu", "time=90", "requeue"):
        assert f"#SBATCH --{flag}\n" in lines
    assert sorted((tmp_path / "cancelled").read_text().split()) == ["7_0", "7_1"]
    (tmp_path / "sbatch").write_text("#!/bin/bash\necho invalid partition specified: gpu >&2; exit 1\n")
    with pytest.raises(UserError, match=r"the jobs were not taken.*invalid partition specified: gpu"):
        list(workers.train(jobs, _interrupt))


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_a_job_that_leaves_no_result_is_told(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    job = WaveJob(str(tmp_path), "a", {}, {}, False, "/", {})

    class Lost:
        job_id = "7_0"
        paths = type("Paths", (), {"stderr": tmp_path / "7_0.err"})

        def result(self) -> Outcome:
            raise RuntimeError("first\nJob 7_0 ran out of memory")

    found = slurm_cluster.SlurmWorkers._outcome(None, Lost(), job)  # type: ignore[arg-type]
    assert found.error is not None and "7_0 ran out of memory" in found.error and "7_0.err" in found.error
