"""Deterministic mode: what XLA is told on a GPU, so that a program gives the same bits whenever it is compiled and run.

A processor or TPU needs nothing. On a GPU there are two sources of other bits. Some kernels (sums by atomic additions,
in scatters and in gradients of convolutions) add up in whichever order they happen to; and for each matrix product,
convolution and fusion XLA's autotuner measures several kernels and takes the fastest, which need not be the same one
the next time. Under the flags below XLA takes deterministic kernels alone and measures nothing: of the kernels that
fit, it takes the first. So there are no results of measurements that would have to be kept and loaded again, and
several processes, which each compile, agree without exchanging any. JAX's cache of measured choices, which other runs
of this machine fill, is left out as well.

Matrix products would be Triton's then, for XLA offers Triton's kernels first, and of those the first is a poor one for
large products: on an H200 an update of a transformer of 50 million parameters took 314 ms in float32 and 237 in
bfloat16, and takes 34 and 20 by cuBLAS, whose first kernel is the one that it expects to be fastest (docs/gpu.md). So
products are left to cuBLAS, unless the user's flags say otherwise.

What it costs: the first kernel is not always the fastest, and scatters are slower; XLA refuses to compile what has no
deterministic form (the gradient of ``jax.lax.reduce_window`` with a maximum; `research.models.layers.pooling` does
without it). ``execution.deterministic=false`` gives it up, and with it equality to the bit.

See XLA's pages on determinism and on persisted autotuning (openxla.org/xla).
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import jax

FLAGS = ("--xla_gpu_deterministic_ops", "--xla_gpu_exclude_nondeterministic_ops")
"""Flags of XLA that must be true. Each asks for deterministic kernels; the second also keeps the autotuner from
compiling several emitters for every other fusion, of which it would take the first anyway."""

TRITON = "--xla_gpu_enable_triton_gemm"
"""Flag of XLA by which products may be Triton's: false where those of `FLAGS` are true. Which bits come out depends on
it, not whether they come out again."""

VARIABLE = "XLA_FLAGS"
AUTOTUNE_CACHE = "jax_persistent_cache_enable_xla_caches"
NVIDIA = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")
"""What there is where the driver of an NVIDIA GPU is: at home, in a container, in Windows' Linux."""

PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")
"""Packages by which JAX uses such a GPU."""


def make_deterministic(device: str) -> None:
    """Set what is needed for deterministic programs; to be called before JAX looks for its devices.

    Nothing is done where no GPU would be used. Flags that the user has set stay as they are. Where JAX has started
    already, flags would come too late and none are set: `shortcomings` says so.

    Args:
        device: as in `research.experiment.Execution`.
    """
    if not expects_gpu(device):
        return
    if not _has_started():
        os.environ[VARIABLE] = with_flags(os.environ.get(VARIABLE, ""))
    if not _lacking(os.environ.get(VARIABLE, "")):
        # A choice that was measured by a run without these flags would be taken from there unseen.
        jax.config.update(AUTOTUNE_CACHE, "none")


def with_flags(text: str) -> str:
    """The value of ``XLA_FLAGS`` with those of `FLAGS` and `TRITON` that it does not set; the name of a file stays."""
    if text.strip() and not text.strip().startswith("-"):
        return text
    given = _given(text)
    added = [f"{flag}=true" for flag in FLAGS if flag not in given]
    if TRITON not in given and not _lacking(" ".join([text, *added])):
        added.append(f"{TRITON}=false")
    return " ".join([*text.split(), *added])


def expects_gpu(device: str) -> bool:
    """Whether JAX would use an NVIDIA GPU of this machine, which it can be asked about only once it has started."""
    platforms = jax.config.values["jax_platforms"]
    if device not in ("auto", "gpu") or (platforms and not {"cuda", "gpu"} & set(platforms.split(","))):
        return False
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(map(importlib.util.find_spec, PLUGINS)) and any(Path(place).exists() for place in NVIDIA)


def in_force() -> str:
    """Which of `FLAGS` XLA was told, and `TRITON`, as text that is equal on two processes whose programs agree."""
    text = os.environ.get(VARIABLE, "")
    lacking = _lacking(text)
    told = [flag for flag in FLAGS if flag not in lacking]
    return " ".join([*told, f"{TRITON}=false"] if _by_cublas(text) else told)


def shortcomings(deterministic: bool, platform: str) -> tuple[str, ...]:
    """A note where determinism was asked for on a GPU and is not given, or makes products slow.

    Args:
        deterministic: whether it was asked for.
        platform: of the device that is used, as JAX names it.
    """
    text = os.environ.get(VARIABLE, "")
    lacking, given = _lacking(text), _given(text)
    if not deterministic or platform != "gpu":
        return ()
    if not lacking:
        if TRITON in given:
            return ()
        return (
            f"execution.deterministic: XLA had started before it could be told to leave matrix products to cuBLAS, "
            f"so an update with large ones may take several times as long. Start Python with "
            f"{VARIABLE}='{with_flags(text)}', or run this before anything else that uses JAX.",
        )
    if own := [f"{flag}={given[flag]}" for flag in lacking if flag in given]:
        return (
            f"execution.deterministic: {VARIABLE} says {' '.join(own)}, which stands: two runs may differ in their "
            f"bits. Take it out, or set execution.deterministic=false.",
        )
    return (
        f"execution.deterministic: XLA had started before it could be told to be deterministic, so two runs may differ "
        f"in their bits. Start Python with {VARIABLE}='{with_flags(text)}', or run this before anything else that uses "
        f"JAX.",
    )


def _lacking(text: str) -> tuple[str, ...]:
    """Those of `FLAGS` that are not true in the value of `VARIABLE`."""
    given = _given(text)
    return tuple(flag for flag in FLAGS if given.get(flag, "false").lower() not in ("true", "1"))


def _by_cublas(text: str) -> bool:
    """Whether the value of `VARIABLE` keeps Triton's kernels out of products."""
    return _given(text).get(TRITON, "true").lower() in ("false", "0")


def _given(text: str) -> dict[str, str]:
    """Values of the flags in a text, the last where one is there twice; a flag alone means true."""
    parts = (flag.partition("=") for flag in text.split())
    return {name: value if equals else "true" for name, equals, value in parts}


def _has_started() -> bool:
    from jax._src import xla_bridge  # JAX says it nowhere else

    return xla_bridge.backends_are_initialized()
