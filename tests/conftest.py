"""Strict arithmetic, checked array shapes, two virtual devices and one compilation cache for all tests."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

CACHE = Path(tempfile.gettempdir()) / f"research-tests-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
os.environ["RESEARCH_CACHE_DIR"] = str(CACHE)
# Tests compile hundreds of small programs and run each for a moment: the compiler's care would be wasted.
FLAGS = (
    "--xla_force_host_platform_device_count=2",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",  # the compiler's older way to write loops, quicker to compile
)
os.environ["XLA_FLAGS"] = " ".join((os.environ.get("XLA_FLAGS", ""), *FLAGS)).strip()

# Imports and traces make objects by the hundred thousand that stay: looking for cycles among them is mostly in vain.
gc.set_threshold(50_000, 20, 100)

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook("research", "typechecker.check")

from research.training.compilation_cache import use_compilation_cache  # noqa: E402

use_compilation_cache()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data files; tests that need it skip where it is absent."""
    folder = os.environ.get("RESEARCH_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RESEARCH_DATA_DIR names no folder of real data files")
    return Path(folder)


@pytest.fixture
def compiles() -> Iterator[Callable[[], int]]:
    """A function that says how many programs have been compiled, or fetched from the cache, since the test began."""
    count = 0

    def listen(event: str, seconds: float, **details: object) -> None:
        nonlocal count
        count += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield lambda: count
    jax.monitoring.unregister_event_duration_listener(listen)


def pytest_collection_finish() -> None:
    """Modules, tests and what they have decorated are there to stay."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start processes of their own come first, so that no worker is left waiting for them at the end."""
    items.sort(key=lambda item: "verify_resume" not in item.nodeid)
