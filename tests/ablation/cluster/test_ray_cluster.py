"""A Ray cluster of two nodes on this machine: lost workers, mistakes and interruptions, and the same bits."""

from __future__ import annotations

import os
import signal
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_ablation import OPTIONS, ablation, attempts, bits, struck
from tiny import EXPERIMENT

from research.ablation.ablation import Ablation
from research.ablation.cluster import ray_cluster, send
from research.ablation.cluster.cluster import Cluster
from research.ablation.directory import AblationDirectory
from research.ablation.result import AblationResult
from research.ablation.run import ablate, plan_only
from research.data import CSV
from research.errors import RunError, UserError
from research.training.checkpoint import Checkpoints
from research.training.tripwire import VARIABLE

pytestmark = pytest.mark.filterwarnings("ignore:.*:ResourceWarning", "ignore:.*:FutureWarning:ray.*")


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
def here(tmp_path_factory: pytest.TempPathFactory) -> AblationResult:
    return ablate(ablation(), ablations=tmp_path_factory.mktemp("here"), **OPTIONS)


def test_a_worker_killed_in_the_middle_changes_no_bit(
    address: str, here: AblationResult, tmp_path: Path, monkeypatch: Any
) -> None:
    cluster = Cluster(kind="ray", address=address, waves=2)
    with struck(signal.SIGKILL, tmp_path, monkeypatch):
        result = ablate(ablation(), ablations=tmp_path, cluster=cluster, **OPTIONS)
    assert result.trained == 4 and attempts(result) == [1, 2]
    assert bits(result) == bits(here)
    assert ablate(ablation(), ablations=tmp_path, cluster=cluster, **OPTIONS).trained == 0


def test_a_mistake_on_a_worker_is_told_and_the_others_go_on(address: str, tmp_path: Path, monkeypatch: Any) -> None:
    rows = [f"{n},{n % 7},{(n * 5) % 11},{int(n % 7 > 3)}" for n in range(100)]
    (tmp_path / "clinic.csv").write_text("\n".join(["mrn,a,b,died", *rows]))
    monkeypatch.setenv("RESEARCH_DATA_DIR", str(tmp_path))
    source = CSV(path="clinic.csv", target="died", patient="mrn")
    own = Ablation(baseline=EXPERIMENT, variants={"clinic": {"data.source": source}}, seeds=1)
    cluster = Cluster(kind="ray", address=address)
    environment = send.worker_environment
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(
            send, "worker_environment", lambda *given: environment(*given) | {"RESEARCH_DATA_DIR": "/nowhere"}
        )
        with pytest.raises(RunError, match=r"(?s)1 of 2 waves.*clinic/seed=0.*clinic\.csv.*same command") as told:
            ablate(own, ablations=tmp_path, cluster=cluster, **OPTIONS)
    assert "Traceback" not in str(told.value) and "/nowhere" in str(told.value)
    assert sum(wave.finished for wave in AblationDirectory(tmp_path / "experiment").waves()) == 1
    assert ablate(own, ablations=tmp_path, cluster=cluster, **OPTIONS).trained == 1


def test_an_interruption_saves_what_the_workers_have(
    address: str, here: AblationResult, tmp_path: Path, monkeypatch: Any
) -> None:
    file, cluster = tmp_path / "tripwire", Cluster(kind="ray", address=address, waves=1)

    def look(self: Any) -> None:
        if file.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as interrupting:
        interrupting.setattr(send.ClusterDisplay, "look", look)
        interrupting.setenv(VARIABLE, f"update:30:{file}")
        with pytest.raises(KeyboardInterrupt):
            ablate(ablation(), ablations=tmp_path, cluster=cluster, **OPTIONS)
    (wave,) = AblationDirectory(tmp_path / "experiment").waves()
    assert not wave.finished and Checkpoints(wave.last, writable=False).latest() == 30
    with wave.claimed():  # no one works in it any more
        pass
    assert bits(ablate(ablation(), ablations=tmp_path, cluster=cluster, **OPTIONS)) == bits(here)


def test_what_no_machine_can_train_is_refused(address: str, tmp_path: Path) -> None:
    planned, _ = plan_only(ablation(), ablations=tmp_path, cluster=Cluster(kind="ray", address=address), **OPTIONS)
    assert [len(wave) for each in planned for wave in each.waves] == [2, 2]  # as many as there are workers
    with pytest.raises(UserError, match="no machine of the Ray cluster has 64 cores"):
        ablate(ablation(), ablations=tmp_path, cluster=Cluster(kind="ray", address=address, cpus=64), **OPTIONS)
    assert not (tmp_path / "experiment").exists()


def test_an_address_that_does_not_answer(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_cluster, "ANSWER_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port} has not answered as a Ray cluster.*ray start"):
            ablate(ablation(), ablations=tmp_path, cluster=Cluster(kind="ray", address=f"127.0.0.1:{port}"), **OPTIONS)
    for given, said in ((f"127.0.0.1:{port}", "nothing answers"), ("somewhere", "HOST:PORT is needed")):
        with pytest.raises(UserError, match=said):
            ablate(ablation(), ablations=tmp_path, cluster=Cluster(kind="ray", address=given), **OPTIONS)
    assert not (tmp_path / "experiment").exists()
