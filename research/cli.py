"""The command line: ``research run``, ``evaluate``, ``predict``, ``compare``, ``ablate`` and others."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from research.ablation.commands import add_commands
from research.console import print_json, show_report, terminal
from research.data_command import add_data
from research.errors import ResearchError, UserError
from research.processes import current, find_place
from research.run_command import add_run
from research.training.verify_command import add_verify_resume

PREDICTIONS_SHOWN = 10
UNCOLLECTED = 50_000
"""Objects made between two looks for garbage. With Python's 700 a sixth of a short run goes into looking: importing and
tracing make some 600,000 that stay."""
TERMINATED = 128 + signal.SIGTERM
EPILOG = """exit codes: 0 done; 2 a mistake in the command, the experiment or the data; 1 a failure while running;
75 asked to stop (SIGTERM, Ctrl-C) and saved, or another process was lost: the same command goes on from there;
143 SIGTERM with nothing to save"""
ALONE = ("ablate", "evaluate", "extract", "predict", "table", "verify-resume")
"""Commands that several processes would do several times over, into the same files."""

PREDICT = """. Files are read as those of the training were (columns, units, missing values), without targets. A run on
a table that was a CSV, on a SeriesCSV or on a SignalFolder needs the same layout; other sources of series take a table
with the columns patient, time, and the variables and static variables by name. Of a forecast the window that ends at
the last reading of each series is predicted from; nothing need come after it. Records are what is known of a patient
up to the last event, or up to each time given with --beside; nothing after it enters. Where there is a target at each
step, each step has a line, with its number from 0 and its time."""


class _Parser(argparse.ArgumentParser):
    """Mistakes in the command become a `UserError`, so that they look like all others."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\nSee {self.prog} --help.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, as `EPILOG` has it."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    errors = terminal(stderr=True, soft_wrap=True)
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if main_thread else None
    thresholds = gc.get_threshold()
    gc.set_threshold(UNCOLLECTED, *thresholds[1:])
    try:
        options, rest = _parser().parse_known_args(given)
        _take_overrides(options, rest)
        _check_alone(options.name_of_command)
        options.command(options)
    except ResearchError as error:
        if debug:
            traceback.print_exc()
        current().fail(str(error), error.exit_code)
        errors.print(f"error: {error}", style="red")
        return error.exit_code
    except KeyboardInterrupt:
        current().fail("interrupted", 1)
        errors.print("interrupted")
        return 1
    except _Terminated:
        current().fail("terminated", TERMINATED)
        errors.print("terminated")
        return TERMINATED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        current().fail(f"{type(error).__name__}: {error}", 1, foreseen=False)
        if debug:
            return 1
        errors.print(
            f"error: {type(error).__name__}: {error}\nThis was not foreseen. Run the command again with --debug to see "
            f"where it happened; what was saved is intact.",
            style="red",
        )
        return 1
    finally:
        gc.set_threshold(*thresholds)
        if main_thread:
            signal.signal(signal.SIGTERM, before)
    return 0


def program() -> int:
    """`main` for a process that ends with it."""
    code = main()
    if current().count == 1:
        # Python looks for garbage once more as it ends: 0.6 s among the objects of JAX, which the process takes with
        # it. Where processes are joined, their connection is taken down by it, and in the wrong order without.
        gc.freeze()
    return code


class _Terminated(BaseException):
    """SIGTERM outside of training, where the loop answers it: what is half done is undone on the way out."""


def _terminate(number: int, frame: Any) -> NoReturn:
    raise _Terminated


def _check_alone(command: str) -> None:
    """Raise `UserError` where a command that is for one process is started by several."""
    if command in ALONE and (place := find_place()):
        raise UserError(
            f"{command}: this is one of several processes ({place.told}), and each would do the same, into the same "
            f"files. Start it once, without srun, mpirun or launch_local; `research run` alone trains with several."
        )


def _take_overrides(options: argparse.Namespace, rest: list[str]) -> None:
    """Overrides may stand before, between and after the options; argparse gathers only the first group."""
    overrides = getattr(options, "overrides", None)
    for text in rest:
        if overrides is None or text.startswith("-"):
            raise UserError(f"unrecognised argument: {text}. See research --help.")
        overrides.append(text)


def _parser() -> _Parser:
    parser = _Parser(prog="research", description="Medical machine-learning experiments in JAX.", epilog=EPILOG)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, function: Any, help: str, more: str = "") -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=f"{help}{more}", epilog=EPILOG)
        command.set_defaults(command=function, name_of_command=name)
        command.add_argument("--debug", action="store_true", help="show tracebacks")
        return command

    def add_experiment(command: argparse.ArgumentParser) -> None:
        command.add_argument("file", type=Path, help="experiment file, such as experiments/wisconsin_mlp.py")
        command.add_argument(
            "overrides",
            nargs="*",
            metavar="path=value",
            help="such as optimizer.learning_rate=3e-4 or model.dropout=none",
        )
        command.add_argument("--seed", type=int, default=0, help="seed of weights, order and draws (0)")

    add_run(add, add_experiment)

    command = add("evaluate", _evaluate, "predict a split of a run's data again, and report metrics with intervals")
    command.add_argument("run", type=Path, metavar="RUN_DIR")
    command.add_argument("--split", default="test", help="train, validation or test (test)")
    command.add_argument("--explain", type=int, metavar="N", help="explain N pictures by Grad-CAM and input gradients")
    command.add_argument("--attention", metavar="PATIENT", help="draw what was attended to in a patient's sequences")
    command.add_argument("--patient", metavar="PATIENT", help="draw a patient's series and what is predicted over time")
    command.add_argument("--json", action="store_true", help="print results for machines")

    command = add("predict", _predict, "predict for new patients with a trained run", PREDICT)
    command.add_argument("run", type=Path, metavar="RUN_DIR")
    command.add_argument(
        "--data",
        required=True,
        metavar="KIND:PATH",
        help="by what the run was trained on: csv:FILE; pictures:FILE, pictures:FOLDER; series:FILE (CSV, Parquet), "
        "series:FOLDER (WFDB); records:FILE, records:FOLDER (MEDS)",
    )
    command.add_argument(
        "--beside",
        metavar="FILE",
        help="of series: a table with a row for each, of static columns; of records: Parquet with subject_id and "
        "prediction_time (at the end of what is known)",
    )
    command.add_argument("--out", type=Path, help="where to write them (NAME.predictions.csv, here)")

    command = add("compare", _compare, "what differs between two runs, and by how much their metrics do")
    command.add_argument("run_a", type=Path, metavar="RUN_A")
    command.add_argument("run_b", type=Path, metavar="RUN_B")
    command.add_argument("--json", action="store_true", help="print results for machines")

    add_verify_resume(add, add_experiment)
    add_commands(add)
    add_data(add)
    return parser


def _evaluate(options: argparse.Namespace) -> None:
    from research.results import evaluate_run

    title, report, figures, notes = evaluate_run(
        options.run,
        options.split,
        options.explain,
        options.attention,
        options.patient,
        None if options.json else terminal(),
    )
    if options.json:
        print_json(
            {"directory": str(options.run), "split": options.split, "report": report.to_json(), "figures": str(figures)}
        )
        return
    console = terminal()
    show_report(console, report, title)
    for note in notes:
        console.print(f"note: {note}", style="yellow")
    if figures is not None:
        console.print(f"figures: {figures}")


def _predict(options: argparse.Namespace) -> None:
    from research.trained_model import TrainedModel
    from research.training.run_directory import RunDirectory

    out = options.out or _default_out(options.data)
    _check_writable(out)
    table, notes = TrainedModel(RunDirectory(options.run)).predict_file(options.data, out, options.beside)
    console = terminal()
    shown = table.head(PREDICTIONS_SHOWN)
    if len(shown) < len(table):
        console.print(f"the first {len(shown)} of {len(table)}:")
    console.print(shown.to_string(index=False), soft_wrap=True)
    for note in notes:
        console.print(f"note: {note}", style="yellow")
    console.print(f"{len(table)} predictions in {out}")


def _default_out(data: str) -> Path:
    """In the current folder: the name of the file, without its suffix, or of the folder."""
    path = Path(data.partition(":")[2] or data).expanduser().resolve()
    return Path(f"{path.name if path.is_dir() else path.stem}.predictions.csv")


def _check_writable(out: Path) -> None:
    """Whether a file can be made there is seen before the work, not after it."""
    if not out.parent.is_dir():
        raise UserError(
            f"{out}: cannot be written, there is no such folder. Make it, or choose another file with --out."
        )


def _compare(options: argparse.Namespace) -> None:
    from research.run_comparison import compare_runs

    comparison = compare_runs(options.run_a, options.run_b)
    if options.json:
        print_json(comparison.to_json())
        return
    console = terminal()
    for table in comparison.tables():
        console.print(table)
