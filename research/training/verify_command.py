"""The command ``research verify-resume``: kills, or moves to other numbers of devices, and what came of them."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from research.console import print_json, terminal
from research.errors import RunError

if TYPE_CHECKING:
    from research.experiment import Execution, Experiment


def add_verify_resume(
    add: Callable[..., argparse.ArgumentParser], add_experiment: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Add the command to the command line, by ``add(name, function, help)``, with the arguments of an experiment."""
    command = add("verify-resume", _verify_resume, "kill a real run at several moments and compare it bit by bit")
    add_experiment(command)
    command.add_argument(
        "--devices", metavar="N,N", help="instead, go on on other numbers of devices in turn, such as 8,4,1"
    )
    command.add_argument("--json", action="store_true", help="print results for machines")


def _verify_resume(options: argparse.Namespace) -> None:
    from research.experiment_file import read_experiment
    from research.training.verify_resume import verify_resume

    experiment, execution, _ = read_experiment(options.file, options.overrides)
    console = terminal(stderr=options.json)
    command = [str(options.file), *options.overrides, "--seed", str(options.seed)]
    if options.devices is not None:
        _verify_moves(options, command, console, experiment, execution)
        return
    with tempfile.TemporaryDirectory(prefix="verify-resume-") as folder:
        verdict = verify_resume(command, Path(folder), lambda text: console.print(f"... {text}"))
    if options.json:
        compared = [vars(comparison) for comparison in verdict.comparisons]
        facts = {"equal": verdict.equal, "updates": verdict.updates, "reached": verdict.reached}
        print_json(facts | {"kills": verdict.kills, "compared": compared})
    else:
        kills = Table("interruption", "resumed from", title=f"{options.file}: {verdict.updates} updates", box=None)
        for interruption, point in verdict.kills:
            kills.add_row(interruption, point)
        compared = Table("compared", "size", "result", box=None)
        for comparison in verdict.comparisons:
            compared.add_row(comparison.what, comparison.size, comparison.difference or "equal to the bit")
        console.print(kills, f"{verdict.reached} of {len(verdict.kills)} interruptions took place", compared)
    if verdict.differs:
        raise RunError(f"{options.file}: a resumed run differs from one that was never interrupted; see the table.")
    if not verdict.equal:
        raise RunError(
            f"{options.file}: nothing is proven, for none of the {len(verdict.kills)} interruptions took place: the "
            f"run of {verdict.updates} updates ended before each. Make it longer, by epochs or steps."
        )


def _verify_moves(
    options: argparse.Namespace, command: list[str], console: Console, experiment: Experiment, execution: Execution
) -> None:
    from research.training.verify_moves import check_moved, parse_devices, shares, verify_moves

    devices = parse_devices(options.devices)
    data = shares(devices, execution.parallel, experiment)
    with tempfile.TemporaryDirectory(prefix="verify-resume-") as folder:
        found = verify_moves(command, Path(folder), devices, data, lambda text: console.print(f"... {text}"))
    if options.json:
        print_json(dataclasses.asdict(found) | {"within": found.within})
    else:
        table = Table("devices", "from", "losses at", "differ by", title=f"{options.file}: {found.updates} updates")
        for move in found.moves:
            table.add_row(f"{move.devices}", move.begun, f"update {move.step}", f"{move.difference:.1e}")
        table.box = None
        console.print(table, f"at the end: {found.metrics[1]} by {found.metrics[0]:.1e}, ", end="")
        console.print(f"predictions by {found.predictions:.1e}, rows {'the same' if found.rows else 'OTHERS'}")
    check_moved(found, str(options.file))
