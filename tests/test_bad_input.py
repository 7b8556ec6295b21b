"""What a user can get wrong: each gives a message that names the thing and the remedy, an exit code, no traceback.

Every case goes through the command line, in this process. Exit code 2 is a mistake found before training, 1 a
failure while running. Nothing may be left behind that makes a later, right command fail.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import EXPERIMENT, run

from research.cli import main
from research.experiment_file import load_experiment
from research.results import Result
from research.training.run_directory import RunDirectory

EXPERIMENT_FILE = "from tiny import EXPERIMENT as experiment\n"
CSV_FILE = """
from research.data import CSV, TableData
from tiny import EXPERIMENT

experiment = EXPERIMENT.replace(data=TableData(source=CSV(path={path!r}, target="died", {options})))
"""


@dataclasses.dataclass
class Outcome:
    """What a command gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: Any, tmp_path: Path, monkeypatch: Any) -> Callable[..., Outcome]:
    """Run one command in an empty folder; a traceback in its output fails the test."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        # The terminal of the tests is narrow; messages are read as one line.
        found = Outcome(code, output.out, " ".join(output.err.split()))
        assert "Traceback" not in found.err and "This was not foreseen" not in found.err, found.err
        assert found.code == 0 or found.err.startswith("error: "), found.err
        return found

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A right experiment file in the current folder."""
    path = tmp_path / "study.py"
    path.write_text(EXPERIMENT_FILE)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(EXPERIMENT, tmp_path_factory.mktemp("runs"))


def refused(outcome: Outcome, pattern: str, code: int = 2) -> None:
    assert re.search(pattern, outcome.err), f"{pattern!r} is not in: {outcome.err}"
    assert outcome.code == code and outcome.out == ""


# The command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"required: COMMAND.*research --help"),
        (["trian", "study.py"], r"invalid choice: 'trian'.*run"),
        (["run"], r"required: file.*research run --help"),
        (["run", "study.py", "--speed", "3"], r"unrecognised argument: --speed"),
        (["run", "study.py", "--seed", "many"], r"--seed: invalid int value: 'many'"),
        (["run", "study.py", "--seed", "-1"], r"seed: a whole number from 0 to 4294967295 is needed, -1 was given"),
        (["run", "study.py", "--seed", "4294967296"], r"seed: a whole number from 0 to 4294967295"),
        (["run", "study.py", "--extend", "-5"], r"--extend: a whole number of at least 1 is needed, -5 was given"),
        (["run", "study.py", "--extend", "0"], r"--extend: a whole number of at least 1 is needed, 0 was given"),
        (["run", "study.py", "--extend", "ten"], r"--extend: invalid int value: 'ten'"),
        (["run", "missing.py"], r"missing\.py: there is no such experiment file\. Files there: study\.py"),
        (["run", "notes.txt"], r"notes\.txt.*\.py"),
        (["list", "--experiments", "nowhere"], r"nowhere: there is no such folder.*--experiments"),
        (["data", "show"], r"name a dataset; `research data list` names them"),
        (["data", "show", "wisconsn"], r"'wisconsn' is no known data\. Did you mean 'wisconsin'"),
        (["data", "show", "patients.csv"], r"For a file write 'csv:patients\.csv'"),
        (["data", "delete", "wisconsin"], r"invalid choice: 'delete'"),
        (["predict", "somewhere"], r"required: --data"),
        (["evaluate"], r"required: RUN_DIR"),
        (["compare", "a"], r"required: RUN_B"),
        (["verify-resume", "missing.py"], r"missing\.py: there is no such experiment file"),
    ],
    ids=" ".join,
)
def test_commands(command: Any, file: Path, arguments: list[str], message: str) -> None:
    file.with_name("notes.txt").write_text("experiment = 3")
    refused(command(*arguments), message)
    assert not file.with_name("runs").exists()


# The experiment ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rte=1", r"no field 'learning_rte'. Did you mean 'learning_rate'\? Valid fields: learning"),
        ("modle.dropout=0.1", r"Experiment has no field 'modle'. Did you mean 'model'\?"),
        ("model.dropout=much", r"model\.dropout: a number or none is needed, 'much' was given"),
        ("model.dropout=1.5", r"model\.dropout: a number in \[0, 1\) is needed, 1\.5 was given"),
        ("model.widths=wide", r"model\.widths\.0: a whole number is needed, 'wide'"),
        ("batch_size=0", r"batch_size: a number of at least 1"),
        ("batch_size=65", r"batch_size: 65 is larger than the training split, which has 64 examples. Give at most 64"),
        ("epochs=3", r"epochs, steps: exactly one of them is needed"),
        ("steps=none", r"epochs, steps: exactly one"),
        ("data=none", r"data: Supervised needs it"),
        ("loss=MSE", r"loss: MSE is for regression targets, but the data has binary targets.*Losses that fit: Bin"),
        ("loss.class_weight=1,2,3", r"loss\.class_weight: 2 numbers are needed.*3 were given"),
        ("optimizer=GradientDescent", r"batch_size: GradientDescent takes the whole training split.*batch_size=none"),
        ("evaluation.select.metric=auorc", r"metric 'auorc' is not known. Did you mean 'auroc'"),
        (
            "evaluation.select.metric=brier",
            r"metric: 'brier' is not computed during training.*Allowed: accuracy",
        ),
        ("data.split.test=0.999", r"split\.\w+: .*cannot be set aside|train split .* empty"),
        ("data.source=CSV(path='none.csv', target='x')", r"'none\.csv' was not found: looked for none\.csv"),
        ("execution.device=tpu", r"execution\.device: 'tpu' is not here; this process sees cpu. Use device=auto"),
        ("execution.log_evry=3", r"Execution has no field 'log_evry'. Did you mean 'log_every'"),
        ("execution.checkpoint_minutes=0", r"execution\.checkpoint_minutes: a number above 0 is needed"),
        ("start_from=StartFrom(run='nowhere')", r"start_from\.run: no checkpoint in nowhere"),
    ],
)
def test_overrides(command: Any, file: Path, override: str, message: str) -> None:
    refused(command("run", file, override), message)
    # Nothing has been trained, and a dry run says the same.
    assert not list(file.parent.glob("runs/**/metrics.jsonl")) and not list(file.parent.glob("runs/**/checkpoints"))
    refused(command("run", file, override, "--dry-run"), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiment = Experiment(", r"study\.py, line 1: '\(' was never closed"),
        ("x = 1\nexperiment = Exprment()\n", r"study\.py, line 2: NameError: name 'Exprment' is not defined"),
        ("import sys\nsys.exit('bye')\n", r"study\.py, line 2: SystemExit: bye"),
        ("import reserch\n", r"study\.py, line 1: ModuleNotFoundError: No module named 'reserch'"),
        ("raise KeyError()\n", r"study\.py, line 1: KeyError"),
        ("\x00", r"study\.py"),
        ("", r"assigns nothing to 'experiment'. Write experiment = Experiment"),
        (
            "from tiny import EXPERIMENT as mine\n",
            r"nothing to 'experiment'.*It has one named 'mine'; rename it",
        ),
        ("experiment = 3\n", r"study\.py: an Experiment is needed, int was given"),
        (
            "from tiny import EXPERIMENT\nexperiment = EXPERIMENT.replace(batch_size=-1)\n",
            r"batch_size: a number of at least 1 is needed, -1",
        ),
        (
            "from research.optimizers import Adam\nAdam(lerning_rate=3)\n",
            r"study\.py, line 2: .*Adam has no field 'lerning_rate'. Did you mean 'learning_rate'",
        ),
    ],
)
def test_experiment_files(command: Any, file: Path, text: str, message: str) -> None:
    file.write_text(text)
    refused(command("run", file), message)
    assert not file.with_name("runs").exists()


OWN_MODEL = """
from flax import nnx
from research.models.own_module import OwnModule
from tiny import EXPERIMENT

class Net(nnx.Module):
    def __init__(self, in_features, outputs, *, rngs):
        self.last = nnx.Linear(in_features, outputs, rngs=rngs)

    def __call__(self, x):
        return self.last(x)RESULT

experiment = EXPERIMENT.replace(model=OwnModule(module=Net), steps=20)
"""


def test_a_mistake_in_a_model_is_corrected_in_place(command: Any, file: Path) -> None:
    file.write_text(OWN_MODEL.replace("RESULT", "[:, 0]"))
    refused(command("run", file), r"model: Net returned an array of shape \(\d+,\); an array of shape \(\d+, 2\)")
    # The corrected file is other code for the same run directory, in which nothing has been trained yet.
    file.write_text(OWN_MODEL.replace("RESULT", ""))
    assert command("run", file, "--json").code == 0


# The data ----------------------------------------------------------------------------------------------------------


def rows(count: int = 120, **columns: Any) -> dict[str, list[Any]]:
    """A good file's columns, some of them replaced."""
    number = np.arange(count)
    good = {
        "patient": [f"p{n}" for n in number],
        "age": 40 + number % 50,
        "pulse": 60 + number % 37,
        "died": number % 2,
    }
    return {name: list(values) for name, values in (good | columns).items()}


def text_of(columns: dict[str, list[Any]]) -> str:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    return "\n".join(lines) + "\n"


def spoiled(name: str, row: int, value: Any) -> str:
    columns = rows()
    columns[name][row] = value
    return text_of(columns)


HALF = ["train"] * 60 + ["validation"] * 30 + ["test"] * 30


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, "", r"patients\.csv' was not found: looked for /.*patients\.csv"),
        ("", "", r"patients\.csv is empty. Check that it was downloaded"),
        ("patient,age,pulse,died\n", "", r"has a header and no rows"),
        (text_of(rows())[:-12], "", r"patients\.csv, line 121: \d values? where the header names 4.*truncated"),
        (spoiled("age", 3, "old"), "", r"line 5, column 'age': 'old' is not a finite number.*categorical"),
        (spoiled("age", 3, "NaN"), "", r"line 5, column 'age': 'NaN' is not a finite number.*missing"),
        (
            spoiled("died", 3, 2),
            'classes=("0", "1"), ',
            r"line 5, column 'died': '2' is not one of the declared",
        ),
        (spoiled("died", 3, ""), "", r"line 5, column 'died': the target is missing.*unlabelled"),
        (text_of(rows()), 'target="dead", ', r"no column 'dead'. Did you mean 'died'|multiple values"),
        (text_of(rows()), 'drop=("puls",), ', r"drop: .*no column 'puls'. Did you mean 'pulse'"),
        (
            text_of(rows(split=["test", "validation"] * 60)),
            'split="split", ',
            r"official splits of patients have no train split, only test and validation\. Add the training data",
        ),
        (
            text_of(rows(split=HALF, died=[0] * 60 + [0, 1] * 30)),
            'split="split", ',
            r"class '1' is absent from the train split of patients \(rows: train 0, validation 15, test 15\)",
        ),
        (
            text_of(rows(split=HALF, patient=[f"p{n % 60}" for n in range(120)])),
            'split="split", patient="patient", ',
            r"60 patients are in more than one split: 'p0' \(train, validation\)",
        ),
    ],
)
def test_data_files(command: Any, file: Path, text: str | None, options: str, message: str) -> None:
    data = file.with_name("patients.csv")
    if text is not None:
        data.write_text(text)
    drop = "" if "drop=" in options or 'patient="' in options else 'drop=("patient",), '
    if "target=" in options:
        file.write_text(CSV_FILE.replace('target="died", ', "").format(path=str(data), options=options + drop))
    else:
        file.write_text(CSV_FILE.format(path=str(data), options=options + drop))
    refused(command("run", file), message)
    assert not file.with_name("runs").exists()


def test_the_good_file_is_no_mistake(file: Path) -> None:
    data = file.with_name("patients.csv")
    data.write_text(text_of(rows()))
    file.write_text(CSV_FILE.format(path=str(data), options='patient="patient"'))
    experiment, _ = load_experiment(file)
    assert len(experiment.data.prepare().splits["train"]) > 0


# Run directories ---------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_named(command: Any, file: Path) -> None:
    refused(command("run", file, "--runs", file / "below"), r"study\.py/below/.* cannot be written \(.*\).*--runs DIR")
    refused(command("run", file, "--runs", "/proc/runs"), r"/proc/runs/.* cannot be written \(.*\).*--runs DIR")


def in_runs(finished: Result, folder: Path) -> Path:
    """A copy of the finished run where the command for ``study.py`` expects its own."""
    return shutil.copytree(finished.directory, folder / "runs" / "study" / finished.directory.name)


def test_two_processes_on_one_run_directory(command: Any, file: Path, finished: Result) -> None:
    other = RunDirectory(in_runs(finished, file.parent))
    other.open()
    refused(command("run", file), r"another process is working in this run directory \(process \d+ on .*--seed")
    other.close()
    assert command("run", file, "--json").code == 0


def test_a_run_directory_made_by_other_code(command: Any, file: Path, finished: Result) -> None:
    directory = in_runs(finished, file.parent)
    environment = directory / "environment.json"
    environment.write_text(environment.read_text().replace('"code": "', '"code": "0'))
    refused(command("run", file), r"made by other code.*--fresh.*--accept-changes")
    assert json.loads(command("run", file, "--json", "--accept-changes").out)["fresh"] is False


@pytest.mark.parametrize("name", ["experiment.json", "environment.json", "data.json", "execution.json", "results.json"])
def test_damaged_files_of_a_run_are_named(command: Any, file: Path, finished: Result, name: str) -> None:
    directory = in_runs(finished, file.parent)
    whole = (directory / name).read_text()
    (directory / name).write_text(whole[: len(whole) // 2])
    refused(command("run", file), rf"{re.escape(name)}: not readable.*--fresh")


@pytest.mark.parametrize(
    "arguments", [("evaluate",), ("predict", "--data", "csv:new.csv"), ("compare",)], ids=lambda a: a[0]
)
def test_what_is_no_finished_run(command: Any, tmp_path: Path, finished: Result, arguments: tuple[str, ...]) -> None:
    def on(directory: Path) -> Outcome:
        more = (finished.directory,) if arguments[0] == "compare" else ()
        return command(arguments[0], directory, *more, *arguments[1:])

    refused(on(tmp_path / "nowhere"), r"nowhere: there is no such run directory")
    (tmp_path / "empty").mkdir()
    refused(on(tmp_path / "empty"), r"empty: not a run directory, for experiment\.json is missing")
    unfinished = shutil.copytree(finished.directory, tmp_path / "unfinished")
    (unfinished / "results.json").unlink()
    refused(on(unfinished), r"unfinished: this run has not finished. Run its command again to resume it")
    damaged = shutil.copytree(finished.directory, tmp_path / "damaged")
    (damaged / "experiment.json").write_text("{")
    refused(on(damaged), r"damaged/experiment\.json: not readable")
    foreign = shutil.copytree(finished.directory, tmp_path / "foreign")
    identity = (foreign / "experiment.json").read_text()
    (foreign / "experiment.json").write_text(identity.replace("research.models.mlp:MLP", "research.models.mlp:Gone"))
    refused(on(foreign), r"research\.models\.mlp:Gone is not known here")


def test_damaged_predictions_and_checkpoints_are_named(command: Any, tmp_path: Path, finished: Result) -> None:
    damaged = shutil.copytree(finished.directory, tmp_path / "damaged")
    stored = damaged / "predictions" / "test.parquet"
    stored.write_bytes(stored.read_bytes()[:200])
    refused(command("compare", damaged, finished.directory), r"test\.parquet is not a readable Parquet file.*truncated")
    shutil.rmtree(damaged / "checkpoints")
    refused(command("evaluate", damaged), r"checkpoints of this run are missing.*--fresh")
    refused(command("predict", damaged, "--data", "csv:new.csv"), r"checkpoints of this run are missing.*--fresh")


def test_evaluate_names_the_splits(command: Any, finished: Result) -> None:
    refused(command("evaluate", finished.directory, "--split", "tset"), r"'tset' is not a split.*train, valid")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"new\.csv' was not found"),
        (
            "age,sex\n50,male\n",
            r"lacks 6 of the 8 columns that the model was trained on: smoking, .*Its col",
        ),
        ("", r"new\.csv is empty"),
        (
            "age,sex,smoking,systolic_blood_pressure,body_mass_index,glucose,heart_rate,creatinine\n"
            "old,male,never,120,25,90,70,1\n",
            r"line 2, column 'age': 'old' is not a finite number",
        ),
    ],
)
def test_files_of_new_patients(command: Any, tmp_path: Path, finished: Result, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "new.csv").write_text(text)
    refused(command("predict", finished.directory, "--data", "csv:new.csv"), message)
    assert not list(tmp_path.glob("*predictions*"))


def test_predict_names_what_it_can_read_and_where_it_cannot_write(
    command: Any, tmp_path: Path, finished: Result
) -> None:
    refused(
        command("predict", finished.directory, "--data", "new.csv"),
        r"--data: 'new\.csv' is not readable; .*so write csv:FILE",
    )
    names = "age,sex,smoking,systolic_blood_pressure,body_mass_index,glucose,heart_rate,creatinine\n"
    (tmp_path / "new.csv").write_text(names + "50,male,never,120,25,90,70,1\n")
    outcome = command("predict", finished.directory, "--data", "csv:new.csv", "--out", "no/where.csv")
    refused(outcome, r"no/where\.csv: cannot be written.*--out")


def test_debug_shows_the_traceback(file: Path, capsys: Any) -> None:
    assert main(["run", str(file), "optimizer.learning_rte=1", "--debug"]) == 2
    errors = capsys.readouterr().err
    assert "Traceback (most recent call last)" in errors and "paths.py" in errors
    assert "Did you mean 'learning_rate'?" in " ".join(errors.split())


def test_a_defect_is_reported_without_traceback_and_shown_on_demand(
    file: Path, capsys: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr("research.runner.set_up", lambda *arguments: 1 / 0)
    command = ["run", str(file), "--runs", str(tmp_path / "runs")]
    assert main(command) == 1
    errors = " ".join(capsys.readouterr().err.split())
    assert "ZeroDivisionError: division by zero This was not foreseen" in errors and "Traceback" not in errors
    assert main([*command, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
