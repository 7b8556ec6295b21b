"""Waves as a job array of Slurm: the only module that touches submitit."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from research.ablation.cluster.cluster import MINUTES, Cluster, Workers, missing
from research.ablation.cluster.wave_job import Outcome, WaveJob, train_wave
from research.errors import UserError

EXECUTOR = "slurm"
SLOTS = 8
TICK = 1.0
INTERRUPTED_SECONDS = 600.0
"""How long a job that was told to stop, and has saved its state, waits for Slurm to end it."""


class SlurmWorkers(Workers):
    """A Slurm cluster, seen from a machine that may submit to it.

    Args:
        cluster: as asked for.
        folder: where jobs and their logs lie; all machines must see it.

    Raises:
        UserError: if submitit is not installed, or this machine has no Slurm.
    """

    slots = SLOTS

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        try:
            import submitit
        except ImportError as error:
            raise missing("submitit", error) from None
        self.submitit = submitit
        if EXECUTOR == "slurm" and submitit.SlurmExecutor.affinity() < 0:
            raise UserError(
                "--cluster slurm: this machine has no srun, so it cannot submit jobs. Run the command on a login node "
                "of the cluster, or use --cluster ray."
            )

    def train(self, jobs: Sequence[WaveJob], look: Callable[[], Any]) -> Generator[Outcome, None, None]:
        """As `Workers.train`."""
        waiting = dict(zip(self._submit(jobs), jobs, strict=True)) if jobs else {}
        try:
            while waiting:
                for submitted in [each for each in waiting if each.done()]:
                    yield self._outcome(submitted, waiting.pop(submitted))
                look()
                time.sleep(TICK if waiting else 0)
        finally:
            for submitted in waiting:
                submitted.cancel(check=False)

    def _submit(self, jobs: Sequence[WaveJob]) -> list[Any]:
        from submitit.core.utils import FailedJobError

        executor = self.submitit.AutoExecutor(
            folder=self.folder / "%j", cluster=EXECUTOR, slurm_max_num_timeout=self.cluster.retries
        )
        executor.update_parameters(
            name="ablation",
            timeout_min=self.cluster.minutes or MINUTES,
            cpus_per_task=self.cluster.cpus,
            gpus_per_node=self.cluster.gpus,
            slurm_partition=self.cluster.partition,
            # A job whose machine fails, or that makes way for another, is queued again.
            slurm_additional_parameters={"requeue": True},
        )
        try:
            # Jobs start with the variables of the process that submits them.
            with _variables(jobs[0].environment):
                return executor.map_array(WaveTask(), jobs)
        except FailedJobError as error:
            raise UserError(f"--cluster slurm: the jobs were not taken ({str(error).strip()}).") from None

    def _outcome(self, submitted: Any, job: WaveJob) -> Outcome:
        try:
            return submitted.result()
        except Exception as error:
            if job.path.joinpath("results.json").exists():
                return Outcome(job.wave)
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return Outcome(
                job.wave,
                f"job {submitted.job_id} ended without it ({lines[-1] if lines else type(error).__name__}); its log "
                f"is {submitted.paths.stderr}",
            )


class WaveTask:
    """What a job does; submitit queues it again where Slurm tells it that its time is up or it has to make way."""

    def __call__(self, job: WaveJob) -> Outcome:
        """Train the wave; a job that has to stop leaves no result, so that it counts as one to be queued again."""
        from research.training.loop import Interrupted

        try:
            return train_wave(job)
        except Interrupted:
            time.sleep(INTERRUPTED_SECONDS)
            raise

    def checkpoint(self, job: WaveJob) -> Any:
        """The job to queue again, which goes on from the wave's checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, job)


@contextlib.contextmanager
def _variables(wanted: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
