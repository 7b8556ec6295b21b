"""The command ``research run``: one process, or one of several, trains an experiment, resumes it, shows its result."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from research.console import print_json, show_report, terminal
from research.errors import UserError
from research.processes import SILENT, current, find_place, join

if TYPE_CHECKING:
    from research.results import Result

SEVERAL = f"""One for each machine, as a rule; scripts/launch_local starts some here. Slurm, Open MPI 4 and TPU pods say
all this by themselves, Open MPI 5 all but --coordinator. --processes 1 alone: a run by itself, whatever started it. One
that gives no sign of life for 30 s ({SILENT}) is taken for lost, and the others end with exit code 75."""


def add_run(
    add: Callable[..., argparse.ArgumentParser], add_experiment: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Add the command to the command line, by ``add(name, function, help)``, with the arguments of an experiment."""
    command = add("run", _run, "train an experiment, resume it, or show its result")
    add_experiment(command)
    command.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (runs)")
    command.add_argument("--dry-run", action="store_true", help="stop after the preflight card; write nothing")
    command.add_argument(
        "--extend", type=int, metavar="STEPS", help="go on for STEPS further updates, each time it is given"
    )
    command.add_argument("--profile", metavar="FIRST:LAST", help="write a trace of these updates, such as 10:20")
    command.add_argument("--devices", type=int, metavar="N", help="with --dry-run: as if there were N accelerators")
    command.add_argument("--device-memory", type=float, metavar="GB", help="with --devices: refuse what does not fit")
    command.add_argument("--fresh", action="store_true", help="set an earlier run aside and begin anew")
    command.add_argument("--accept-changes", action="store_true", help="go on although the code has changed")
    command.add_argument("--json", action="store_true", help="print results for machines")
    several = command.add_argument_group("several processes", SEVERAL)
    several.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 is reached by all")
    several.add_argument("--processes", type=int, metavar="N", help="how many there are")
    several.add_argument("--process", type=int, metavar="I", help="which this is, from 0")


def _run(options: argparse.Namespace) -> None:
    from research import runner
    from research.experiment_file import read_experiment
    from research.training.pretend import pretend_devices
    from research.training.profiling import parse_profile

    if options.extend is not None and options.extend < 1:
        raise UserError(f"--extend: a whole number of at least 1 is needed, {options.extend} was given.")
    for option in ("devices", "device_memory"):
        if getattr(options, option) is not None and not options.dry_run:
            raise UserError(f"--{option.replace('_', '-')}: it pretends devices for --dry-run; give that too.")
    if options.device_memory is not None and not (options.devices and options.device_memory > 0):
        raise UserError("--device-memory: a number of GB above 0, with --devices, is needed.")
    if options.devices is not None:
        pretend_devices(options.devices)
    if place := find_place(options.coordinator, options.processes, options.process):
        join(place)
    experiment, execution, source = read_experiment(options.file, options.overrides)
    if options.profile is not None:
        execution = execution.replace(profile=parse_profile(options.profile))
    console = terminal()
    name = options.file.stem
    if options.dry_run:
        facts = runner.dry_run(
            experiment,
            seed=options.seed,
            execution=execution,
            name=name,
            runs=options.runs,
            devices=options.devices,
            device_memory=options.device_memory,
        )
        print_json(facts.to_json()) if options.json else console.print(facts.card(name))
        return
    result = runner.run(
        experiment,
        seed=options.seed,
        execution=execution,
        name=name,
        runs=options.runs,
        extend=options.extend or 0,
        fresh=options.fresh,
        accept_changes=options.accept_changes,
        source=source,
        console=None if options.json else console,
    )
    leads = current().leads
    current().close()
    if not leads:
        return
    if options.json:
        print_json({"directory": str(result.directory), "fresh": result.fresh} | result.summary)
        return
    _show_run(console, result, name)


def _show_run(console: Console, result: Result, name: str) -> None:
    from research.training.profiling import in_words, slow_feed

    show_report(console, result.report, f"{name}, seed {result.seed}: {result.summary['split']} split")
    summary = result.summary
    stopped = f", stopped early of {summary['total_updates']}" if summary["stopped_early"] else ""
    console.print(f"weights of update {summary['reported_step']} of {summary['updates']}{stopped}; {result.directory}")
    if (figures := result.directory / "figures" / summary["split"]).is_dir():
        console.print(f"figures: {figures}")
    if not result.fresh:
        return
    if told := in_words(summary["throughput"]):
        console.print(told)
    if summary["feed"] == "streaming":
        console.print(f"waited for input {100 * summary['input_wait_share']:.1f} % of the time in training")
    if warning := slow_feed(summary["input_wait_share"]):
        console.print(f"note: {warning}", style="yellow")
    if (trace := result.directory / "profile").is_dir():
        console.print(f"trace: {trace}; tensorboard --logdir {trace}, or ui.perfetto.dev")
