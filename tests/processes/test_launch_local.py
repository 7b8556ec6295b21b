"""scripts/launch_local shares out the GPUs of a machine, or says that they are too few."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "launch_local"
LISTED = """GPU 0: NVIDIA H100 (UUID: GPU-0a)
  MIG 3g.40gb     Device  0: (UUID: MIG-0b)
GPU 1: NVIDIA H100 (UUID: GPU-1a)
GPU 2: NVIDIA H100 (UUID: GPU-2a)
"""


def shown(folder: Path, processes: int, **variables: str) -> tuple[int, dict[str, str], str]:
    """Exit code, the GPUs that each process is shown, and what was said, on a machine with three."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{LISTED}END\n")
    (folder / "nvidia-smi").chmod(0o755)
    told = f'echo "${{CUDA_VISIBLE_DEVICES-all}}" >{folder}/shown$RESEARCH_PROCESS'
    done = subprocess.run(
        [sys.executable, str(SCRIPT), f"{processes}", "--", "sh", "-c", told],
        env={"PATH": f"{folder}:/usr/bin:/bin"} | variables,
        capture_output=True,
        text=True,
    )
    found = {path.name.removeprefix("shown"): path.read_text().strip() for path in folder.glob("shown*")}
    return done.returncode, found, done.stderr


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"0": "0,2", "1": "1"}),
        ({"CUDA_VISIBLE_DEVICES": "5,GPU-2a"}, {"0": "5", "1": "GPU-2a"}),
        ({"CUDA_VISIBLE_DEVICES": ""}, {"0": "", "1": ""}),
        ({"JAX_PLATFORMS": "cpu"}, {"0": "all", "1": "all"}),
    ],
    ids=["all", "named", "none", "processor"],
)
def test_each_process_is_shown_its_share(tmp_path: Path, variables: dict[str, str], expected: dict[str, str]) -> None:
    assert shown(tmp_path, 2, **variables) == (0, expected, "")


def test_more_processes_than_gpus_are_refused(tmp_path: Path) -> None:
    code, found, said = shown(tmp_path, 4)
    assert code == 2 and not found
    assert (
        "each process needs a GPU of its own, and there are 3 for 4. Start fewer, or rehearse on the processor" in said
    )
