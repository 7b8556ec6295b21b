"""The preflight of more devices than there are: what each would hold and send, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from tiny import EXPERIMENT, QUIET

from research.data.placing import Shapes, place
from research.errors import UserError
from research.experiment import Parallel
from research.models import MLP
from research.training.layout import layout_of
from research.training.pretend import pretend_devices, pretended_preflight, spread_of
from research.training.setup import set_up

WIDE = EXPERIMENT.replace(model=MLP(widths=(64, 256)))
FILE = """
from research.data import SyntheticTable, TableData
from research.experiment import Experiment
from research.losses import CrossEntropy
from research.models import MLP
from research.optimizers import Adam

experiment = Experiment(
    data=TableData(source=SyntheticTable(patients=100)), model=MLP(widths=(64, 64)), loss=CrossEntropy(),
    optimizer=Adam(learning_rate=1e-3), steps=4, batch_size=32,
)
"""


def test_parts_of_the_state_are_told_as_they_lie() -> None:
    parallel = Parallel(data=1, fsdp=2)
    found = pretended_preflight(WIDE, seed=0, execution=QUIET.replace(parallel=parallel), devices=2)
    assert found.facts["parallel"] == "fsdp 2 by jit; 8 rows of a batch on each device"
    assert any(note.startswith("spread: hidden.1.dense.kernel [64, 256 by fsdp]") for note in found.notes)
    assert "all-gather" in found.facts or "all-reduce" in found.facts
    carry = set_up(WIDE, 0, QUIET.replace(parallel=parallel)).program.carry_like()
    kernel = next(each for each in spread_of(carry) if each.name == "state.params.hidden.1.dense.kernel")
    assert kernel.bytes == 64 * 256 * 4 / 2
    told = {each["name"]: each for each in found.to_json()["arrays"]}
    assert len(told) == len(jax.tree.leaves(carry))
    assert told[kernel.name] == {"name": kernel.name, "shape": (64, 256), "parts": ("", "fsdp"), "bytes": kernel.bytes}


def test_all_devices_are_used_unless_told_otherwise() -> None:
    """On the processor itself one is used by default; those here stand for accelerators."""
    found = pretended_preflight(WIDE, seed=0, execution=QUIET, devices=2)
    assert found.facts["devices"] == "2 of 2 pretended ones used"
    assert "each device has all parameters" in found.notes


def test_of_rows_from_disk_two_chunks_are_counted_each_device_with_its_part() -> None:
    execution = QUIET.replace(feed="streaming", parallel=Parallel(data=2))
    found = pretended_preflight(EXPERIMENT, seed=0, execution=execution, devices=2)
    row = 11 * 4 + 4 + 4 + 4 + 1  # features, target, example, patient, mask
    assert f"{2 * 64 * 8 * row / 1e3:.3g} kB data" in found.facts["on each device"]


def test_what_does_not_fit_is_refused_with_what_takes_most() -> None:
    with pytest.raises(
        UserError, match=r"--device-memory: 1e-05 GB are too little; each device needs .* working\. \w+"
    ):
        pretended_preflight(WIDE, seed=0, execution=QUIET, devices=2, memory=1e-5)


def test_an_axis_that_spreads_nothing_is_told() -> None:
    thin = EXPERIMENT.replace(model=MLP(widths=(3,)))
    found = pretended_preflight(thin, seed=0, execution=QUIET.replace(parallel=Parallel(data=1, fsdp=2)), devices=2)
    assert any(re.match(r"execution\.parallel\.fsdp: 2 spreads nothing, for no array", note) for note in found.notes)


def test_shapes_stand_for_arrays() -> None:
    layout = layout_of(Parallel(data=2), jax.devices(), 4)
    assert layout is not None
    like = place({"rows": jax.numpy.ones((4, 3))}, Shapes(layout.everywhere))["rows"]
    assert isinstance(like, jax.ShapeDtypeStruct) and like.shape == (4, 3)


def test_devices_that_are_found_already_stay() -> None:
    jax.devices()
    with pytest.raises(UserError, match="found its devices in this process already"):
        pretend_devices(4)
    with pytest.raises(UserError, match="--devices: a whole number from 1 to"):
        pretend_devices(0)


def test_the_command_pretends_devices(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(FILE, encoding="utf-8")
    command = [sys.executable, "-m", "research", "run", "small.py", "--dry-run", "--json", "--devices", "16"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["facts"]["parallel"] == "data 16 by jit; 2 rows of a batch on each device"
    assert not (tmp_path / "runs").exists()
