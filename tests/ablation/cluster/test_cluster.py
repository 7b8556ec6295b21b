"""What can be asked of a cluster, and what a worker is given and checks; nothing is started here."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_ablation import OPTIONS, ablation

from research.ablation import Cluster, run
from research.ablation.cluster import ray_cluster, send, wave_job, worker
from research.ablation.cluster.cluster import Workers
from research.ablation.cluster.ray_cluster import RayWorkers
from research.ablation.cluster.wave_job import Outcome, WaveJob, train_wave, worker_environment
from research.ablation.directory import AblationDirectory, Wave
from research.ablation.plan import Means
from research.ablation.progress import AblationDisplay
from research.ablation.run import ablate
from research.cli import main
from research.errors import UserError
from research.spec import to_json


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "rey"}, "'rey' is not known.*Did you mean 'ray'"),
        ({"kind": "ray", "cpus": 0}, "--cpus: a whole number of at least 1"),
        ({"kind": "ray", "gpus": -1}, "--gpus: a whole number of at least 0"),
        ({"kind": "ray", "minutes": 5}, "--minutes: belongs to --cluster slurm"),
        ({"kind": "slurm", "address": "host:1"}, "--address: belongs to --cluster ray"),
    ],
)
def test_mistakes_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Cluster(**given).check("auto")


def test_devices_of_the_execution_are_those_of_the_workers() -> None:
    Cluster(kind="ray", gpus=1).check("gpu")
    with pytest.raises(UserError, match=r"'gpu' does not go with --gpus 0"):
        Cluster(kind="ray").check("gpu")


def test_options_of_clusters_need_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "missing.py", "--cpus", "2"]) == 2
    assert "--cpus: belongs to --cluster ray or slurm" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_package_that_is_not_there_is_named(kind: Any, package: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"not installed.*pip install 'research\[cluster\]'"):
        ablate(ablation(), ablations=tmp_path, cluster=Cluster(kind=kind), **OPTIONS)


def test_a_worker_finds_what_this_process_does(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESEARCH_DATA_DIR", "data")
    monkeypatch.setenv("PYTHONPATH", f"mine{os.pathsep}{os.pathsep}other")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=9 --xla_other=1")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    found = worker_environment(cpus=3, gpus=0)
    assert found["RESEARCH_DATA_DIR"] == str(tmp_path / "data")
    assert found["XLA_FLAGS"] == "--xla_other=1 --xla_force_host_platform_device_count=3"
    assert found["JAX_PLATFORMS"] == "cpu"
    assert found["PYTHONPATH"].split(os.pathsep)[-2:] == [str(tmp_path / "mine"), str(tmp_path / "other")]
    on_gpu = worker_environment(cpus=3, gpus=1)
    assert "JAX_PLATFORMS" not in on_gpu and on_gpu["XLA_FLAGS"] == "--xla_other=1"


def _wave(folder: Path, replicas: int = 1) -> Wave:
    folder.mkdir(parents=True)
    members = [{"name": "baseline/seed=0", "identity": "a"}, {"name": "baseline/seed=1", "identity": "b"}]
    return Wave(folder, {"members": members, "way": {"strategy": "map", "replicas": replicas}})


def test_a_wave_has_one_process(tmp_path: Path) -> None:
    wave = _wave(tmp_path / "wave")
    with (
        wave.claimed(),
        pytest.raises(UserError, match=f"another process.*{os.getpid()}.*sent to a cluster"),
        wave.claimed(),
    ):
        pass
    with wave.claimed():
        pass


def test_a_wave_needs_the_devices_it_was_begun_on(tmp_path: Path) -> None:
    wave = _wave(tmp_path / "wave", replicas=2)
    wave.check_devices(2)
    workers = Workers()
    workers.cluster, workers.slots = Cluster(kind="ray", cpus=1), 1
    with pytest.raises(UserError, match=r"begun on 2 devices, and 1 are there.*--cpus"):
        send.train_on(workers, tmp_path, [wave], OPTIONS["execution"], {}, False, AblationDisplay(None, [wave], [0]))


@pytest.mark.parametrize(("gpus", "asked"), [(0, [3 * 2**29, 2**32, 2**29]), (1, [None, None, None])])
def test_ray_keeps_the_memory_of_waves_free(gpus: int, asked: list[int | None]) -> None:
    said: list[Any] = []
    task = SimpleNamespace(
        options=lambda **options: said.append(options["memory"]) or task, remote=lambda job: job.memory
    )
    ray = SimpleNamespace(
        nodes=lambda: [
            {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0, "memory": 2.0**32}},
            {"Alive": True, "Resources": {"memory": 2.0**40}},  # has no cores for a wave
        ],
        remote=lambda function: task,
        wait=lambda waiting, **options: (waiting, []),
        get=lambda memory: Outcome("wave"),
    )
    about = ("", "wave", {}, {}, False, "", {})
    jobs = [WaveJob(*about, memory=memory) for memory in (2**30, 2**40, 0)]
    list(RayWorkers(ray, Cluster(kind="ray", gpus=gpus)).train(jobs, lambda: None))
    assert said == asked


def test_a_wave_that_no_machine_of_ray_can_hold_any_more_is_sent_again(monkeypatch: Any) -> None:
    """The largest machine leaves while two waves wait: the one that asked for all of it asks for less."""
    monkeypatch.setattr(ray_cluster, "LOOK_SECONDS", 0.0)
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0, "memory": 2.0**size}} for size in (34, 33)]
    sent: list[tuple[str, int]] = []
    cancelled: list[int] = []

    def options(memory: int, **others: Any) -> Any:
        return SimpleNamespace(remote=lambda job: sent.append((job.wave, memory)) or len(sent) - 1)

    def wait(waiting: list[int], **others: Any) -> tuple[list[int], list[int]]:
        largest = max(node["Resources"]["memory"] for node in nodes if node["Alive"])
        if nodes[0]["Alive"]:
            nodes[0]["Alive"] = False
            return [], waiting
        assert len(sent) < 5
        return [each for each in waiting if sent[each][1] <= largest], []

    ray = SimpleNamespace(
        nodes=lambda: nodes,
        remote=lambda function: SimpleNamespace(options=options),
        wait=wait,
        get=lambda reference: Outcome(sent[reference][0]),
        cancel=lambda reference, force: cancelled.append(reference),
    )
    jobs = [WaveJob("", wave, {}, {}, False, "", {}, memory=memory) for wave, memory in (("a", 2**40), ("b", 2**30))]
    found = list(RayWorkers(ray, Cluster(kind="ray")).train(jobs, lambda: None))
    assert sorted(each.wave for each in found) == ["a", "b"] and cancelled == [0]
    assert sent == [("a", 2**34), ("b", 3 * 2**29), ("a", 2**33)]
    # And where none is left that has cores for a wave, it fails.
    monkeypatch.setattr(ray_cluster, "GONE_SECONDS", 0.0)
    workers = RayWorkers(ray, Cluster(kind="ray"))
    nodes[1]["Resources"]["CPU"] = 0.0
    ray.wait = lambda waiting, num_returns=0, **others: (waiting, []) if num_returns else ([], waiting)
    (found,) = workers.train(jobs[:1], lambda: None)
    assert "asks for 1 cores and 0 GPUs" in str(found.error) and "the largest of 1 has 0 and 0" in str(found.error)


def test_a_class_of_the_program_itself_cannot_travel(monkeypatch: Any) -> None:
    monkeypatch.setattr(send, "classes_of", lambda experiment: ["__main__:MyModel"])
    with pytest.raises(UserError, match=r"MyModel: defined in the program that was started.*module of its own"):
        send.check_portable([ablation().baseline], None)
    send.check_portable([ablation().baseline], Path("file.py"))


def test_a_worker_says_what_it_does_not_have(tmp_path: Path, monkeypatch: Any) -> None:
    with monkeypatch.context() as untrained:
        untrained.setattr(run, "run_wave", lambda *given: None)
        untrained.setattr(run, "Means", functools.partial(Means, compiles=False))
        with pytest.raises(UserError, match="members are not trained yet"):
            ablate(ablation(), ablations=tmp_path, **OPTIONS)
    (wave,) = AblationDirectory(tmp_path / "experiment").waves()

    def outcome(**changes: Any) -> str:
        job = {
            "directory": str(tmp_path / "experiment"),
            "wave": wave.path.name,
            "execution": to_json(OPTIONS["execution"]),
            "codes": dict.fromkeys(wave.identities, "other"),
            "accept_changes": False,
            "folder": str(Path.cwd()),
            "environment": {},
        }
        return train_wave(WaveJob(**(job | changes))).error or ""

    assert "does not see the ablation's directory" in outcome(directory=str(tmp_path / "elsewhere"))
    assert "other code than the one that sent the wave" in outcome()
    description = wave.path / "wave.json"
    text = description.read_text()
    description.write_text(text.replace(wave.about["members"][0]["data"], "0" * 16))
    assert "other data than the one that planned" in outcome(accept_changes=True)
    description.write_text(text.replace(wave.about["members"][0]["identity"], "0" * 16))
    assert "another one on this machine" in outcome(accept_changes=True)
    description.write_text(text)
    monkeypatch.setattr(worker, "PATIENCE", 0.0)
    with wave.claimed():
        assert "another process is working in this wave" in outcome()

    def broken(*given: Any) -> None:
        raise ZeroDivisionError("in the loop")

    monkeypatch.setattr(worker, "run_wave", broken)
    assert "ZeroDivisionError: in the loop" in outcome(accept_changes=True)
    assert "Traceback" in (wave.path / wave_job.TRACEBACK).read_text()
    wave.results.write_text("{}")
    assert outcome() == ""  # finished: nothing is left to do
