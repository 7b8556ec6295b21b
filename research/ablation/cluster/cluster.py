"""`Cluster`: which machines train the waves of an ablation, and what each wave is given there."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from research.ablation.cluster.wave_job import Outcome, WaveJob
from research.errors import UserError, did_you_mean

Kind = Literal["ray", "slurm"]
OF_SLURM = ("partition", "minutes")
MINUTES = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """Machines that train the waves of an ablation, while this one plans and gathers.

    The directory of the ablation, the data and the code must be at the same place on all of them: a shared folder.

    Attributes:
        kind: ``ray``, or ``slurm``.
        address: ``HOST:PORT`` of a Ray cluster of which this machine is a node; None starts one of this machine
            alone. Where this process is connected to Ray already, that connection serves.
        cpus: processor cores of a wave; where it has no GPU, members are shared out over so many devices.
        gpus: GPUs of a wave, over which members are shared out; 0 trains on the processor.
        waves: waves to make of what is left, at least one a group; None makes as many as Ray can train at once, and 8
            for Slurm, which does not say. Waves begun earlier stay as they are.
        retries: how often a wave is begun again from its checkpoint: after the loss of its worker, or of Slurm after
            its time was up.
        partition: that of Slurm; None takes its default.
        minutes: of a Slurm job, after which the wave is queued again and goes on from its checkpoint; None: 60.
    """

    kind: Kind | str
    address: str | None = None
    cpus: int = 1
    gpus: int = 0
    waves: int | None = None
    retries: int = 3
    partition: str | None = None
    minutes: int | None = None

    @property
    def devices(self) -> int:
        """Devices that a worker has."""
        return self.gpus or self.cpus

    def check(self, device: str) -> None:
        """Raise `UserError` for values that mean nothing, or do not go with the kind of device of the execution."""
        if self.kind not in get_args(Kind):
            allowed = ("local", *get_args(Kind))
            meant = did_you_mean(str(self.kind), allowed)
            raise UserError(f"--cluster: {self.kind!r} is not known. Allowed: {', '.join(allowed)}.{meant}")
        least = {"cpus": 1, "gpus": 0, "waves": 1, "retries": 0, "minutes": 2}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < minimum):
                raise UserError(f"--{name}: a whole number of at least {minimum} is needed, {value!r} was given.")
        foreign = ("address",) if self.kind == "slurm" else OF_SLURM
        for name in foreign:
            if getattr(self, name) is not None:
                other = "ray" if self.kind == "slurm" else "slurm"
                raise UserError(f"--{name}: belongs to --cluster {other}, and {self.kind} was asked for. Leave it out.")
        if device != "auto" and (device == "cpu") != (self.gpus == 0):
            raise UserError(
                f"execution.device: {device!r} does not go with --gpus {self.gpus}, which says what a worker has. "
                f"Leave execution.device out."
            )


class Workers:
    """A cluster that answers; what each kind of it does.

    Attributes:
        cluster: as asked for.
        slots: waves that it trains at once, as far as known.
    """

    cluster: Cluster
    slots: int

    def train(self, jobs: Sequence[WaveJob], look: Callable[[], Any]) -> Generator[Outcome, None, None]:
        """What became of each job, as soon as it is known; ``look`` is called every second or so meanwhile.

        Those that have not ended when the iterator is closed are cancelled.
        """
        raise NotImplementedError


@contextlib.contextmanager
def opened(cluster: Cluster, device: str, folder: Path) -> Iterator[Workers]:
    """The cluster's workers, until the end of the context.

    Args:
        cluster: as asked for.
        device: kind of device of the execution.
        folder: where Slurm's jobs leave their logs; made when something is sent off.

    Raises:
        UserError: for a mistake in what was asked for, a package that is not installed, or a cluster that does not
            answer or has no machine that is large enough.
    """
    cluster.check(device)
    if cluster.kind == "ray":
        from research.ablation.cluster.ray_cluster import connected

        with connected(cluster) as workers:
            yield workers
    else:
        from research.ablation.cluster.slurm_cluster import SlurmWorkers

        yield SlurmWorkers(cluster, folder)


def missing(package: str, error: ImportError) -> UserError:
    """The error for a package of the extra ``cluster`` that cannot be imported."""
    return UserError(f"--cluster: {package} is not installed ({error}). Run pip install 'research[cluster]'.")
