"""The commands ``research list`` and ``research data``: what there is to run and to learn from, shown and prepared."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from research.console import terminal
from research.datasets import KINDS, SUMMARIES
from research.errors import UserError


def add_data(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add both commands to the command line, by ``add(name, function, help)``."""
    command = add("list", _list, "experiments and datasets, a line each")
    command.add_argument(
        "--experiments", type=Path, help="folder of experiment files (experiments, or else the files here)"
    )

    command = add("data", _data, "list datasets, show one, or prepare one")
    command.add_argument("action", choices=("list", "show", "prepare"))
    command.add_argument("name", nargs="?", help="a dataset of the list, or an experiment file for the data in it")
    command.add_argument("--augmented", action="store_true", help="draw pictures and augmented forms of each")
    command.add_argument("--out", type=Path, help="where to draw pictures, a PNG (NAME.png)")


def _list(options: argparse.Namespace) -> None:
    from research.outlines import defines, first_line

    if options.experiments is not None and not options.experiments.is_dir():
        raise UserError(f"{options.experiments}: there is no such folder. Name another one with --experiments DIR.")
    folder = options.experiments or Path("experiments")
    files = sorted(folder.rglob("*.py") if folder.is_dir() else Path().glob("*.py"))
    for title, variable in (("experiments", "experiment"), ("ablations", "ablation")):
        if found := {str(path): first_line(path) for path in files if defines(path, variable)}:
            _print_lines(title, found)
            print()
    _list_datasets()


def _list_datasets() -> None:
    _print_lines("datasets", SUMMARIES | {f"{name}:{kind.where}": kind.summary for name, kind in KINDS.items()})


def _print_lines(title: str, entries: dict[str, str]) -> None:
    """One entry a line, however long: for eyes and for grep."""
    width = max((len(name) for name in entries), default=0)
    print(title)
    for name, summary in entries.items():
        print(f"  {name.ljust(width)}  {summary}".rstrip())


def _data(options: argparse.Namespace) -> None:
    if options.action == "list":
        _list_datasets()
        return
    if options.name is None:
        raise UserError(f"data {options.action}: name a dataset; `research data list` names them.")
    if options.action == "prepare" and (options.augmented or options.out is not None):
        raise UserError("--augmented, --out: these draw pictures; write research data show.")
    from research.reporting.show import prepare, show

    console = terminal()
    if options.action == "show" and (options.augmented or options.out is not None):
        _draw_pictures(options, console)
        return
    source = _source(options.name)
    if options.action == "prepare":
        from research.training.progress import PreparingDisplay

        with contextlib.closing(PreparingDisplay(console)) as told:
            console.print(prepare(source, told))
        return
    for part in show(source):
        console.print(part)


def _source(name: str) -> Any:
    """The source that a name means, or that an experiment file has."""
    from research.data.catalog import parse_source
    from research.experiment_file import load_experiment

    if not name.endswith(".py"):
        return parse_source(name)
    data = load_experiment(Path(name))[0].data
    if data is None:
        raise UserError(f"{name}: this experiment has no data.")
    return data.source


def _draw_pictures(options: argparse.Namespace, console: Console) -> None:
    """A contact sheet of a dataset, or of an experiment's data as its training sees it."""
    from research.data.catalog import parse_source
    from research.data.image_data import ImageData
    from research.experiment_file import load_experiment
    from research.reporting.show import data_of, gentle, show_pictures

    if options.out is not None and options.out.suffix.lower() != ".png":
        raise UserError(
            f"--out: pictures are written as PNG, so a name that ends in .png is needed, {str(options.out)!r} was "
            f"given. Choose one such as --out pictures.png."
        )
    if options.name.endswith(".py"):
        data, name = load_experiment(Path(options.name))[0].data, Path(options.name).stem
    else:
        data, name = data_of(parse_source(options.name))[0], re.sub(r"\W+", "_", options.name)
        if isinstance(data, ImageData) and options.augmented:
            data = data.replace(augmentation=gentle())
    if not isinstance(data, ImageData):
        raise UserError(f"--augmented, --out: {options.name} has no pictures to draw.")
    out = options.out or Path(f"{name}.png")
    show_pictures(data if options.augmented else data.replace(augmentation=None), out)
    if options.augmented:
        console.print(f"augmentation: {data.augmentation}")
    console.print(f"drawn in {out}")
