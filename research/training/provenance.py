"""Where a run came from: code, packages, machine, and what of it differs on a later day."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

import research
from research.allocator import allocator
from research.spec import Spec
from research.training.code import code_hash
from research.training.processor import cores, posed

PACKAGES = (
    "research",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
)

GPU_PACKAGES = {
    "jax-cuda12-plugin": ("nvidia-cublas-cu12", "nvidia-cudnn-cu12", "nvidia-nccl-cu12"),
    "jax-cuda13-plugin": ("nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"),
}
"""Where the kernels of a GPU come from, by the plugin of JAX that takes them."""


def environment(device: Any, experiment: Spec) -> dict[str, Any]:
    """What the bits of a result depend on beside experiment, seed and data; written as ``environment.json``.

    Args:
        device: the device that trains.
        experiment: the experiment, for the code that it is made of.
    """
    code, unreadable = code_hash(experiment)
    on_gpu = gpu_packages() if device.platform == "gpu" else ()
    # As how many devices a processor poses is its execution's choice.
    count = 1 if posed(device.platform) else jax.device_count(device.platform)
    return {
        "code": code,
        "unreadable_code": list(unreadable),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in (*PACKAGES, *on_gpu)},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "device": {"kind": device.device_kind, "platform": device.platform, "count": count},
        "allocator": allocator(),
        "flags": {name: value for name, value in sorted(os.environ.items()) if _matters(name)},
    }


def _matters(name: str) -> bool:
    """Whether an environment variable may change what JAX computes."""
    return name == "XLA_FLAGS" or (name.startswith("JAX_") and "CACHE" not in name)


def differences(old: Any, new: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """What differs between two JSON objects, as ``{dotted path: (old, new)}``."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in [*old, *(key for key in new if key not in old)]:
            found |= differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return found
    return {} if old == new else {path: (old, new)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(research.__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def gpu_packages() -> tuple[str, ...]:
    """Packages with the kernels of a GPU, of the plugins that are installed."""
    plugins = (name for name in GPU_PACKAGES if version(name))
    return tuple(name for plugin in plugins for name in (plugin, *GPU_PACKAGES[plugin]))


def version(package: str) -> str | None:
    """Of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor_features() -> str:
    """Hash of the processor's name and instruction sets: compiled code is portable only where it is equal."""
    text = _processor() + "".join(_cpuinfo("flags"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor()


def _cpuinfo(field: str) -> str:
    if sys.platform != "linux":
        return ""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(field):
            return line.partition(":")[2].strip()
    return ""


def machine() -> str:
    """One line on where a figure was measured: processor, cores, and the packages that matter."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("jax", "torch") if version(name))
    processor = _processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"
