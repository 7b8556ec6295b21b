"""Deterministic mode: which flags XLA is told, where, and what is said where it cannot be told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from tiny import EXPERIMENT

from research.training import determinism, provenance
from research.training.determinism import (
    AUTOTUNE_CACHE,
    FLAGS,
    TRITON,
    VARIABLE,
    expects_gpu,
    in_force,
    make_deterministic,
    shortcomings,
    with_flags,
)
from research.training.provenance import environment

CUBLAS = f"{TRITON}=false"
ALL = " ".join([*(f"{flag}=true" for flag in FLAGS), CUBLAS])
OTHER = "--xla_dump_to=/somewhere"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """As on a machine with an NVIDIA GPU and JAX for it, before JAX has started."""
    plugins = tmp_path / "plugins"
    (plugins / "a_plugin").mkdir(parents=True)
    (plugins / "a_plugin" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(plugins))
    monkeypatch.setattr(determinism, "PLUGINS", ("no_plugin", "a_plugin"))
    monkeypatch.setattr(determinism, "NVIDIA", (str(tmp_path / "none"), str(plugins)))
    monkeypatch.setattr(determinism, "_has_started", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv(VARIABLE, OTHER)
    before = {name: jax.config.values[name] for name in ("jax_platforms", AUTOTUNE_CACHE)}
    jax.config.update("jax_platforms", None)
    yield monkeypatch
    for name, value in before.items():
        jax.config.update(name, value)


def set_platforms(text: str) -> None:
    jax.config.update("jax_platforms", text)


@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_on_a_gpu_all_flags_are_set_beside_those_of_the_user(gpu: pytest.MonkeyPatch, device: str) -> None:
    make_deterministic(device)
    assert os.environ[VARIABLE] == f"{OTHER} {ALL}" and in_force() == f"{' '.join(FLAGS)} {CUBLAS}"
    assert jax.config.values[AUTOTUNE_CACHE] == "none"
    make_deterministic(device)
    assert os.environ[VARIABLE] == f"{OTHER} {ALL}"
    assert shortcomings(True, "gpu") == ()


def test_nothing_is_set_where_no_gpu_would_be_used(gpu: pytest.MonkeyPatch) -> None:
    assert expects_gpu("auto")
    assert not expects_gpu("cpu") and not expects_gpu("tpu")
    for platforms, expected in (("cpu", False), ("cuda,cpu", True), ("gpu", True), ("tpu,cpu", False)):
        set_platforms(platforms)
        assert expects_gpu("auto") == expected, platforms
    set_platforms("")
    for shown, expected in (("", False), ("-1", False), ("1", True)):
        gpu.setenv("CUDA_VISIBLE_DEVICES", shown)
        assert expects_gpu("auto") == expected, shown
    for name, nothing in (("NVIDIA", ("/dev/null/none",)), ("PLUGINS", ("no_plugin",))):
        with gpu.context() as other:
            other.setattr(determinism, name, nothing)
            assert not expects_gpu("auto"), name
            make_deterministic("auto")
    make_deterministic("cpu")
    assert os.environ[VARIABLE] == OTHER and jax.config.values[AUTOTUNE_CACHE] != "none"
    assert shortcomings(True, "cpu") == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ALL),
        (f"{FLAGS[0]}", f"{FLAGS[0]} {FLAGS[1]}=true {CUBLAS}"),
        (f"{TRITON}=true", f"{TRITON}=true {FLAGS[0]}=true {FLAGS[1]}=true"),
        (f"{FLAGS[1]}=false", f"{FLAGS[1]}=false {FLAGS[0]}=true"),
        ("flags.txt", "flags.txt"),
    ],
)
def test_what_the_user_has_set_stands(given: str, expected: str) -> None:
    assert with_flags(given) == expected


def test_the_opposite_in_the_users_flags_is_said_and_keeps_the_cache(gpu: pytest.MonkeyPatch) -> None:
    gpu.setenv(VARIABLE, f"{FLAGS[1]}=1 {FLAGS[0]}=true {FLAGS[0]}=false")
    make_deterministic("auto")
    assert in_force() == FLAGS[1] and jax.config.values[AUTOTUNE_CACHE] != "none"
    (note,) = shortcomings(True, "gpu")
    assert f"{VARIABLE} says {FLAGS[0]}=false, which stands" in note and "differ in their bits" in note
    assert shortcomings(False, "gpu") == ()


def test_a_backend_that_has_started_is_said(gpu: pytest.MonkeyPatch) -> None:
    gpu.setattr(determinism, "_has_started", lambda: True)
    make_deterministic("auto")
    assert os.environ[VARIABLE] == OTHER and in_force() == "" and jax.config.values[AUTOTUNE_CACHE] != "none"
    (note,) = shortcomings(True, "gpu")
    assert "had started before" in note and f"{VARIABLE}='{OTHER} {ALL}'" in note
    gpu.setenv(VARIABLE, ALL.removesuffix(CUBLAS))
    (note,) = shortcomings(True, "gpu")
    assert "leave matrix products to cuBLAS" in note and f"{VARIABLE}='{ALL}'" in note
    gpu.setenv(VARIABLE, ALL.replace(CUBLAS, f"{TRITON}=true"))
    assert shortcomings(True, "gpu") == ()


@pytest.mark.parametrize(
    ("value", "told"), [("=false", True), ("=False", True), ("=0", True), ("", False), ("=1", False)]
)
def test_processes_agree_however_a_flag_is_spelt(value: str, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{TRITON}{value} {FLAGS[0]}=1 {FLAGS[1]}")
    assert in_force() == " ".join([*FLAGS, CUBLAS] if told else FLAGS)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_packages_of_kernels_are_recorded_where_they_matter(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "device_count", lambda platform: 1)
    kernels = {"jax-cuda13-plugin": "0.10", "nvidia-cublas": "13.1", "nvidia-cudnn-cu13": "9.19"}
    others = {"jax": "0.10", "nvidia-cudnn-cu12": "9.10"}
    monkeypatch.setattr(provenance, "version", (kernels | others).get)
    packages = environment(SimpleNamespace(platform=platform, device_kind="a chip"), EXPERIMENT)["packages"]
    assert (kernels.items() <= packages.items()) == (platform == "gpu") and packages["jax"]
    assert "nvidia-cudnn-cu12" not in packages


RUN = """
import json, os
from pathlib import Path
import jax
from research.errors import UserError
from research.training import determinism
from research.training.provenance import environment
determinism.expects_gpu = lambda device: True
import tiny
try:
    tiny.run(tiny.EXPERIMENT, Path("/dev/null"))
except UserError as error:
    print(json.dumps([str(error), environment(jax.devices()[0], tiny.EXPERIMENT)["flags"]["XLA_FLAGS"]]))
"""


def test_this_jax_knows_the_flags_and_a_run_sets_and_records_them() -> None:
    """XLA ends a process with a flag that it does not know; and nothing of a run starts JAX before they are set.

    The run ends where it would make its directory, when it has found its devices and prepared its data.
    """
    variables = {name: value for name, value in os.environ.items() if name != VARIABLE}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), *sys.path]))
    done = subprocess.run([sys.executable, "-c", RUN], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    error, recorded = json.loads(done.stdout)
    assert error.startswith("/dev/null/") and recorded == ALL
