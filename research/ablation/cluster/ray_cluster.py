"""Waves as tasks of Ray: the only module that touches it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from research.ablation.cluster.cluster import Cluster, Workers, missing
from research.ablation.cluster.wave_job import Outcome, WaveJob, train_wave
from research.errors import UserError

CONNECT_SECONDS = 4.0
ANSWER_SECONDS = 15.0
CANCEL_SECONDS = 20.0
TICK = 0.5
LOOK_SECONDS = 10.0
"""Between looks at which machines are there."""
GONE_SECONDS = 60.0
"""How long no machine may be there that has cores for a wave, such as while one starts anew, before waves fail."""
PROCESS_BYTES = 2**29
"""What a process takes before it trains: JAX, and the libraries that read data."""

# ray.init waits two minutes for an address at which no Ray answers and then ends its own process: tried in another.
PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[RayWorkers]:
    """Workers of a Ray cluster: of this machine alone, or that of the address.

    Raises:
        UserError: if Ray is not installed, nothing answers, or no machine is large enough for a wave.
    """
    try:
        import ray
    except ImportError as error:
        raise missing("Ray", error) from None
    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if cluster.address not in (None, here):
            _check_answers(cluster.address)
            raise UserError(
                f"--address: {cluster.address} was given, and this process is connected to the Ray cluster at {here} "
                f"already. Leave the address out, or call ray.shutdown() first."
            )
        yield RayWorkers(ray, cluster)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # how Ray will treat tasks without GPU; no warning
    options: dict[str, Any] = {"address": cluster.address or "local"}
    if cluster.address is None:
        options["include_dashboard"] = False
    else:
        _check_answers(cluster.address)
    with _own_sigterm():
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise UserError(f"--cluster ray: Ray does not start ({_last_line(str(error))}).") from None
    try:
        yield RayWorkers(ray, cluster)
    finally:
        with _own_sigterm():
            ray.shutdown()


class RayWorkers(Workers):
    """The workers of a Ray cluster that this process is connected to.

    Args:
        ray: the module.
        cluster: as asked for.

    Raises:
        UserError: if no machine is large enough for a wave.
    """

    def __init__(self, ray: Any, cluster: Cluster) -> None:
        self.ray, self.cluster = ray, cluster
        machines = self._machines()
        self.slots = sum(_room(machine, cluster) for machine in machines)
        self.memory = self._largest(machines)
        if not self.slots:
            largest = max((int(machine.get("CPU", 0)), int(machine.get("GPU", 0))) for machine in machines)
            raise UserError(
                f"--cpus, --gpus: no machine of the Ray cluster has {cluster.cpus} cores and {cluster.gpus} GPUs for "
                f"a wave; the largest has {largest[0]} and {largest[1]}. Ask for less."
            )

    def train(self, jobs: Sequence[WaveJob], look: Callable[[], Any]) -> Generator[Outcome, None, None]:
        """As `Workers.train`."""
        waiting, asked = {}, {}

        def send(job: WaveJob) -> None:
            reference, memory = self._send(job)
            waiting[reference], asked[reference] = job, memory

        for job in jobs:
            send(job)
        looked = there = time.monotonic()
        try:
            while waiting:
                ready, _ = self._wait(list(waiting))
                for reference in ready:
                    yield self._outcome(reference, waiting.pop(reference))
                if time.monotonic() - looked >= LOOK_SECONDS:
                    looked = time.monotonic()
                    machines = self._machines()
                    if any(_room(machine, self.cluster) for machine in machines):
                        there = looked
                    elif looked - there >= GONE_SECONDS:
                        for job in waiting.values():
                            yield Outcome(job.wave, self._nowhere(machines))
                        return
                    for reference in self._too_large(machines, {each: asked[each] for each in waiting}):
                        self.ray.cancel(reference, force=False)
                        send(waiting.pop(reference))
                look()
        finally:
            self._cancel(list(waiting))

    def _send(self, job: WaveJob) -> tuple[Any, int | None]:
        """What Ray calls a job that it is given, and the memory that is asked for it."""
        from research.training.loop import Interrupted

        memory = self._memory(job)
        options = self.ray.remote(train_wave).options(
            num_cpus=self.cluster.cpus,
            num_gpus=self.cluster.gpus,
            memory=memory,
            max_retries=self.cluster.retries,
            # A worker that is told to stop saves its state first.
            retry_exceptions=[Interrupted],
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": _before_start(job.environment)},
        )
        return options.remote(job), memory

    def _machines(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _largest(self, machines: Sequence[dict[str, float]]) -> float:
        """Memory of the largest machine that has cores for a wave, in bytes; 0 where none has."""
        return max((machine.get("memory", 0.0) for machine in machines if _room(machine, self.cluster)), default=0.0)

    def _nowhere(self, machines: Sequence[dict[str, float]]) -> str:
        """What is said of a wave for which no machine is left."""
        largest = max(((int(m.get("CPU", 0)), int(m.get("GPU", 0))) for m in machines), default=(0, 0))
        return (
            f"it asks for {self.cluster.cpus} cores and {self.cluster.gpus} GPUs, and no machine that the Ray cluster "
            f"has now has them; the largest of {len(machines)} has {largest[0]} and {largest[1]}"
        )

    def _too_large(self, machines: Sequence[dict[str, float]], asked: dict[Any, int | None]) -> list[Any]:
        """Jobs that ask for more memory than any machine has now: Ray would keep them waiting, and say nothing.

        The largest machine may have left the cluster since they were sent.
        """
        largest = self._largest(machines)
        if not largest:
            return []
        self.memory = largest
        return [reference for reference, memory in asked.items() if memory is not None and memory > largest]

    def _memory(self, job: WaveJob) -> int | None:
        """What Ray is to keep free for a wave on processors, so that those beside it on a machine have room too.

        A wave larger than any machine by this count, which leaves room for files, has a machine to itself.
        """
        return None if self.cluster.gpus else int(min(job.memory + PROCESS_BYTES, self.memory)) or None

    def _wait(self, waiting: list[Any]) -> tuple[list[Any], list[Any]]:
        try:
            return self.ray.wait(waiting, timeout=TICK)
        except SystemError as error:
            # What a signal's handler raised while compiled code of Ray was waiting.
            if error.__cause__ is None:
                raise
            raise error.__cause__ from None

    def _outcome(self, reference: Any, job: WaveJob) -> Outcome:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            again = f", and so were those of {self.cluster.retries} retries" if self.cluster.retries else ""
            return Outcome(job.wave, f"its worker was lost{again} ({_last_line(str(error))})")

    def _cancel(self, waiting: list[Any]) -> None:
        """Let workers save their state and stop; end those that do not."""
        for reference in waiting:
            self.ray.cancel(reference, force=False)
        deadline = time.monotonic() + CANCEL_SECONDS
        while waiting and time.monotonic() < deadline:
            _, waiting = self.ray.wait(waiting, num_returns=len(waiting), timeout=TICK)
        for reference in waiting:
            self.ray.cancel(reference, force=True)


def _before_start(environment: dict[str, str]) -> dict[str, str]:
    """Variables that a process needs before it begins; the others are set by the job, so that a worker serves many."""
    return {name: value for name, value in environment.items() if not name.startswith("RESEARCH_")}


def _room(machine: dict[str, float], cluster: Cluster) -> int:
    """How many waves a machine trains at once."""
    by_cpu = int(machine.get("CPU", 0)) // cluster.cpus
    return min(by_cpu, int(machine.get("GPU", 0)) // cluster.gpus) if cluster.gpus else by_cpu


def _check_answers(address: str) -> None:
    """Raise `UserError` unless a Ray cluster answers at the address, before much time is lost."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--address: HOST:PORT is needed, such as 10.0.0.1:6379; {address!r} was given.")
    remedy = "Start one there with ray start --head, or give the address that it printed."
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--address: nothing answers at {address} ({error}). {remedy}") from None
    command = [sys.executable, "-c", PROBE, address]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"--address: what listens at {address} has not answered as a Ray cluster within {ANSWER_SECONDS:.0f} s. "
            f"{remedy}"
        ) from None
    if tried.returncode:
        raise UserError(
            f"--address: the Ray cluster at {address} does not take this process ({_last_line(tried.stderr)}). This "
            f"machine must be one of its nodes, with the same versions of Ray and Python."
        )


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray answers SIGTERM in its own way; here what was agreed on before holds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason was given"
