"""Recipes for clusters: they parse, and say of exit codes, variables and numbers what the program says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from research.errors import REQUEUE, UserError
from research.processes import find_place
from research.processes.joining import VARIABLES

SCRIPTS = Path(__file__).parents[2] / "scripts"
TERMINATED = 143


@pytest.mark.parametrize("name", ["slurm/train.sbatch", "tpu/train"])
def test_shell_parses_and_knows_the_exit_codes(name: str) -> None:
    checked = subprocess.run(["bash", "-n", str(SCRIPTS / name)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    text = (SCRIPTS / name).read_text()
    assert f"{REQUEUE}" in text and f"{TERMINATED}" in text


@pytest.mark.parametrize(
    ("code", "requeued"), [(0, False), (1, False), (2, False), (REQUEUE, True), (TERMINATED, True)]
)
def test_slurm_requeues_what_was_asked_to_stop(tmp_path: Path, code: int, requeued: bool) -> None:
    for name, text in (("srun", f"exit {code}"), ("scontrol", f'echo "$@" >{tmp_path}/asked')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "41", "SLURM_SUBMIT_DIR": str(tmp_path)}
    script = ["bash", str(SCRIPTS / "slurm" / "train.sbatch"), "a.py"]
    assert subprocess.run(script, env=variables, capture_output=True).returncode == code
    asked = tmp_path / "asked"
    assert asked.exists() == requeued and (not requeued or asked.read_text() == "requeue 41\n")


GCLOUD = """#!/bin/bash
case "$*" in
    *" describe "*) head -n 1 {folder}/states; sed -i 1d {folder}/states ;;
    *" ssh "*) echo ssh >>{folder}/asked; code=$(head -n 1 {folder}/codes); sed -i 1d {folder}/codes; exit "$code" ;;
    *) echo "$4" >>{folder}/asked ;;
esac
"""


@pytest.mark.parametrize(
    ("states", "codes", "code", "asked"),
    [
        (["", "PROVISIONING", "ACTIVE"], [0], 0, ["create", "ssh"]),
        (["ACTIVE", "SUSPENDING", "SUSPENDED", "", "ACTIVE"], [REQUEUE, 0], 0, ["ssh", "delete", "create", "ssh"]),
        (["FAILED", "", "ACTIVE"], [2], 2, ["delete", "create", "ssh"]),
        (["ACTIVE", "SUSPENDING", "SUSPENDED", "", "ACTIVE"], [255, 0], 0, ["ssh", "delete", "create", "ssh"]),
        (["ACTIVE", "ACTIVE"], [1], 1, ["ssh"]),
    ],
    ids=["new", "taken away after saving", "refused", "taken away at once", "failed"],
)
def test_a_slice_that_was_taken_away_is_asked_for_anew(
    tmp_path: Path, states: list[str], codes: list[int], code: int, asked: list[str]
) -> None:
    for name, text in (("gcloud", GCLOUD.format(folder=tmp_path)), ("sleep", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for name, lines in (("states", states), ("codes", codes)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    variables = {"NAME": "a", "ZONE": "z", "TYPE": "v4-32", "BUCKET": "gs://b", "PATH": f"{tmp_path}:/usr/bin:/bin"}
    script = ["bash", str(SCRIPTS / "tpu" / "train"), "a.py"]
    done = subprocess.run(script, env=variables, capture_output=True, text=True, timeout=20)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "asked").read_text().split() == asked and not (tmp_path / "states").read_text()


def test_the_manifest_starts_processes_that_find_each_other() -> None:
    yaml = pytest.importorskip("yaml")
    manifest = yaml.safe_load((SCRIPTS / "kubernetes" / "train.yaml").read_text())
    (job,) = manifest["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    variables = {each["name"]: each.get("value", "1") for each in container["env"]}
    place = find_place(environment=variables)
    assert set(variables) == set(VARIABLES) and place is not None
    assert place.count == spec["parallelism"] == spec["completions"]
    name = manifest["metadata"]["name"]
    assert str(place.coordinator).startswith(f"{name}-{job['name']}-0-0.{name}:")
    rules = spec["podFailurePolicy"]["rules"]
    by_code = {code: rule["action"] for rule in rules for code in rule.get("onExitCodes", {}).get("values", [])}
    assert by_code == {REQUEUE: "Ignore", TERMINATED: "Ignore", UserError.exit_code: "FailJob"}
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    names = {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule}
    assert names == {container["name"]}
