"""`verify-resume --devices` with real processes: it passes on an honest experiment, and it can fail."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tiny import EXPERIMENT

from research.cli import main
from research.errors import RunError, UserError
from research.experiment import Parallel
from research.training.verify_moves import Move, Moves, check_moved, parse_devices, shares
from research.training.verify_resume import NOT_REACHED

FILE = """
from research.data import SyntheticTable, TableData
from research.experiment import Evaluation, Experiment
from research.losses import CrossEntropy
from research.models import MLP
from research.optimizers import AdamW

experiment = Experiment(
    data=TableData(source=SyntheticTable(patients=100)),
    model=MLP(widths=(4,), dropout=0.2),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=2e-2, average=0.8),
    steps=40,
    batch_size=16,
    evaluation=Evaluation(every_steps=10, resamples=100),
)
"""
STAYED = Moves(40, (Move(2, "the beginning", 10, 1e-7), Move(1, "update 20", 30, 2e-7)), (0.0, "auroc"), 1e-6, True)


def test_a_run_goes_on_on_another_number_of_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.py"
    file.write_text(FILE, encoding="utf-8")
    assert main(["verify-resume", str(file), "execution.figures=false", "--devices", "2,1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [move["begun"] for move in found["moves"]] == ["the beginning", "update 20"]
    assert [move["step"] for move in found["moves"]] == [10, 30]
    assert all(move["difference"] < 1e-5 for move in found["moves"]) and found["rows"] and found["predictions"] < 1e-4
    assert found["metrics"][0] < 1e-4 and found["metrics"][1]


def test_other_losses_or_rows_or_no_move_are_told() -> None:
    check_moved(STAYED, "file")
    apart = Moves(40, (STAYED.moves[0], Move(1, "update 20", 30, 0.1)), (0.0, ""), 0.0, True)
    others = Moves(40, STAYED.moves, (0.0, ""), 0.0, False)
    for wrong in (apart, others):
        with pytest.raises(RunError, match="has other losses or rows"):
            check_moved(wrong, "file")
    with pytest.raises(RunError, match="ended before it was moved"):
        check_moved(Moves(3, (Move(2, NOT_REACHED, 0, math.nan),), (0.0, ""), 0.0, True), "file")


def test_numbers_that_cannot_share_the_work_are_refused_before_anything_runs(tmp_path: Path) -> None:
    experiment = EXPERIMENT.replace(batch_size=128)
    assert shares((8, 4), Parallel(fsdp=2), experiment) == (4, 2)
    with pytest.raises(UserError, match=r"--devices: 3, 1 cannot be divided by 2 .*fsdp 2 times tensor 1"):
        shares((8, 3, 1), Parallel(fsdp=2), experiment)
    with pytest.raises(UserError, match="batch_size: 128 rows cannot be shared out evenly among 3 devices"):
        shares((2, 3), Parallel(), experiment)


def test_numbers_of_devices_are_read() -> None:
    assert parse_devices("8, 4,1") == (8, 4, 1)
    for text in ("8", "8,x", "8,0", ""):
        with pytest.raises(UserError, match="such as 8,4,1"):
            parse_devices(text)
