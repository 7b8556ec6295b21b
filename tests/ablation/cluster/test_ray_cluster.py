"""A Ray cluster of two nodes on this machine: lost workers, mistakes and interruptions, and the same bits."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_ablation import LINEAR, OPTIONS, VARIANTS, ablation, bits, struck

from research.ablation.cluster import ray_cluster, send
from research.ablation.cluster.cluster import Cluster
from research.ablation.directory import AblationDirectory
from research.ablation.run import ablate, plan_only
from research.data import CSV
from research.errors import RunError, UserError
from research.spec import replace
from research.training.checkpoint import Checkpoints
from research.training.tripwire import VARIABLE

pytestmark = pytest.mark.filterwarnings("ignore:.*:ResourceWarning", "ignore:.*:FutureWarning:ray.*")

RAY = Cluster(kind="ray")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """That of two nodes with a core each, to which this process is connected while the tests go on."""
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED")}
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("ray")
        from ray.cluster_utils import Cluster as Nodes

        room: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        nodes = Nodes(initialize_head=True, head_node_args=room | {"include_dashboard": False})
        try:
            nodes.add_node(**room)
            yield nodes.address
        finally:
            nodes.shutdown()
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@pytest.fixture(scope="module")
def connection(address: str) -> Iterator[None]:
    """This process stays connected, so that workers serve several tests."""
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()


def test_there_are_as_many_waves_as_workers(address: str, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    planned, _ = plan_only(ablation(), ablations=tmp_path, cluster=Cluster(kind="ray", address=address), **OPTIONS)
    assert [len(wave) for each in planned for wave in each.waves] == [2, 2]
    assert signal.getsignal(signal.SIGTERM) == handler


def test_lost_workers_mistakes_and_interruptions_change_no_bit(
    connection: None, tmp_path: Path, monkeypatch: Any
) -> None:
    rows = [f"{n},{n % 7},{(n * 5) % 11},{int(n % 7 > 3)}" for n in range(100)]
    for folder, names in ((tmp_path, ("clinic.csv", "copy.csv")), (tmp_path / "elsewhere", ("clinic.csv",))):
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).write_text("\n".join(["mrn,a,b,died", *rows]))
    monkeypatch.setenv("RESEARCH_DATA_DIR", str(tmp_path))
    baseline = replace(LINEAR, {"data.source": CSV(path="clinic.csv", target="died", patient="mrn")})
    whole = ablation(baseline=baseline, variants=VARIANTS | {"copied": {"data.source.path": "copy.csv"}})

    # Of three waves one is killed in the middle, and one does not find its data.
    environment = send.worker_environment
    with monkeypatch.context() as elsewhere, struck(signal.SIGKILL, tmp_path, monkeypatch):
        elsewhere.setattr(
            send,
            "worker_environment",
            lambda *given: environment(*given) | {"RESEARCH_DATA_DIR": str(tmp_path / "elsewhere")},
        )
        with pytest.raises(RunError, match=r"(?s)1 of 3 waves.*copied/seed=0.*copy\.csv.*same command") as told:
            ablate(whole, ablations=tmp_path, cluster=dataclasses.replace(RAY, waves=3), **OPTIONS)
    assert "Traceback" not in str(told.value) and str(tmp_path / "elsewhere") in str(told.value)
    waves = AblationDirectory(tmp_path / "experiment").waves()
    assert sorted((wave.finished, len(wave.attempted())) for wave in waves) == [(False, 1), (True, 1), (True, 2)]

    # What is missing is interrupted from here, which saves its state.
    file = tmp_path / "interrupted"

    def look(self: Any) -> None:
        if file.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as interrupting:
        interrupting.setattr(send.AblationDisplay, "look", look)
        interrupting.setenv(VARIABLE, f"update:30:{file}")
        with pytest.raises(KeyboardInterrupt):
            ablate(whole, ablations=tmp_path, cluster=RAY, **OPTIONS)
    (left,) = [wave for wave in AblationDirectory(tmp_path / "experiment").waves() if not wave.finished]
    assert Checkpoints(left.last, writable=False).latest() == 30
    with left.claimed():  # no one works in it any more
        pass

    result = ablate(whole, ablations=tmp_path, cluster=RAY, **OPTIONS)
    assert result.trained == 2
    alone = OPTIONS | {"strategy": "separate"}
    assert bits(result) == bits(ablate(whole, ablations=tmp_path / "here", **alone))


def test_what_no_machine_can_train_is_refused(connection: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no machine of the Ray cluster has 64 cores"):
        ablate(ablation(), ablations=tmp_path, cluster=dataclasses.replace(RAY, cpus=64), **OPTIONS)
    assert not (tmp_path / "experiment").exists()


def test_an_address_that_does_not_answer(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_cluster, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port} has not answered as a Ray cluster.*ray start"):
            ablate(ablation(), ablations=tmp_path, cluster=Cluster(kind="ray", address=f"127.0.0.1:{port}"), **OPTIONS)
    for given, said in ((f"127.0.0.1:{port}", "nothing answers"), ("somewhere", "HOST:PORT is needed")):
        with pytest.raises(UserError, match=said):
            ablate(ablation(), ablations=tmp_path, cluster=Cluster(kind="ray", address=given), **OPTIONS)
    assert not (tmp_path / "experiment").exists()
