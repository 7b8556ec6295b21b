"""TensorBoard's events hold the numbers of the log, at their steps; what is not finite is left out."""

import math
import os
import struct
import subprocess
import sys
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from research.training.metrics_log import MetricsLog, read_metrics


def _events(folder: Path) -> list[Event]:
    """Of all files in order of time; each is a length of 8 bytes, its checksum of 4, the event, its checksum."""
    found = []
    for path in sorted(folder.iterdir()):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            found.append(Event.FromString(data[place + 12 : place + 12 + length]))
            place += 12 + length + 4
    return found


def test_events_hold_the_lines_of_the_log(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", 0, tmp_path / "tensorboard")
    log.write({"step": 10, "epoch": 0.5, "train/loss": 0.25, "validation/loss": 0.5})
    log.write({"step": 20, "epoch": 1.0, "train/loss": 0.125, "validation/loss": math.nan})
    log.close()
    told = [
        (event.step, {value.tag: value.simple_value for value in event.summary.value})
        for event in _events(tmp_path / "tensorboard")
    ]
    assert [each for each in told if each[1]] == [
        (10, {"train/loss": 0.25, "validation/loss": 0.5}),
        (20, {"train/loss": 0.125}),
    ]
    assert read_metrics(tmp_path / "metrics.jsonl")[1]["validation/loss"] is None


def test_a_resumed_run_takes_later_events_away(tmp_path):
    for step, ends in ((0, (10, 20)), (10, (20,))):
        log = MetricsLog(tmp_path / "metrics.jsonl", step, tmp_path / "tensorboard")
        for end in ends:
            log.write({"step": end, "train/loss": 1.0})
        log.close()
    # TensorBoard drops what is at or after the step with which a new file begins.
    assert [event.step for event in _events(tmp_path / "tensorboard") if event.session_log.status == 1] == [11]
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [10, 20]


PROGRAM = """
import sys
from pathlib import Path
from research.training.metrics_log import MetricsLog
log = MetricsLog(Path("metrics.jsonl"), 0, Path("tensorboard"))
log.write({"step": 1, "train/loss": 1.0})
log.close()
print("torch" in sys.modules)
import torch
print(torch.there)
"""


def test_pytorch_is_not_imported_for_it_and_can_be_later(tmp_path):
    (tmp_path / "torch.py").write_text("there = 'yes'\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "yes"] and list((tmp_path / "tensorboard").iterdir())
