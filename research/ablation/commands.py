"""The commands of ablations: ``research ablate | table | extract``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from research.console import terminal

FEWEST_RESAMPLES = 100

ABLATE = """. FILE assigns an Ablation to 'ablation', or an Experiment to 'experiment'. path=value changes the baseline;
path=value,value,... makes a variant of each, and of each combination where several are given (tuples in brackets). The
same command again trains what is not there yet, and shows the table."""


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands to the command line, by ``add(name, function, help, more)``."""
    command = add("ablate", _ablate, "train variants of an experiment with several seeds, and compare them", ABLATE)
    command.add_argument(
        "file", type=Path, help="of an ablation, or an experiment such as experiments/wisconsin_mlp.py"
    )
    command.add_argument("overrides", nargs="*", metavar="path=value", help="such as model.dropout=none,0.1,0.3")
    command.add_argument("--seeds", metavar="N", help="how many, or which, such as 0,1,5 (8, or as the file says)")
    command.add_argument("--folds", type=int, metavar="K", help="cross-validation by patient in K folds")
    command.add_argument(
        "--nested", type=int, metavar="K", help="in each fold choose a variant by K inner folds, and score the choice"
    )
    command.add_argument("--plan", action="store_true", help="show what would be trained; write nothing")
    command.add_argument("--strategy", default="auto", help="auto, map, vmap or separate (auto: measured)")
    command.add_argument("--exact", action="store_true", help="only ways that give the bits of runs of their own")
    command.add_argument("--ablations", type=Path, default=Path("ablations"), help="folder of all (ablations)")
    command.add_argument("--fresh", action="store_true", help="set earlier results aside and train all anew")
    command.add_argument("--accept-changes", action="store_true", help="use results although the code has changed")
    _add_cluster(command)
    add_metrics(command)

    command = add("table", _table, "the table of an ablation again, from its directory")
    command.add_argument("directory", type=Path, metavar="ABLATION_DIR")
    command.add_argument("--format", default="text", help="text, markdown, latex, csv or json (text)")
    command.add_argument("--figures", action="store_true", help="draw the figures again, in ABLATION_DIR/figures")
    add_metrics(command)

    command = add("extract", _extract, "make an ordinary run of a member of an ablation")
    command.add_argument("directory", type=Path, metavar="ABLATION_DIR")
    command.add_argument("--member", required=True, metavar="NAME", help="such as 'wider/seed=3'")
    command.add_argument("--to", required=True, type=Path, metavar="RUN_DIR", help="a new folder")
    command.add_argument("--accept-changes", action="store_true", help="go on although the code has changed")


def _add_cluster(command: argparse.ArgumentParser) -> None:
    """Add the options for where the waves are trained."""
    options = command.add_argument_group(
        "clusters",
        "Waves of members are trained by Ray or Slurm, each by a process of its own, and their results land in the "
        "same directory. That, the data and the code must lie where all machines see them at the same place: a shared "
        "folder. A wave whose worker is lost goes on from its checkpoint. Needs pip install 'research[cluster]'.",
    )
    options.add_argument("--cluster", default="local", help="local (this process), ray or slurm (local)")
    options.add_argument(
        "--address", metavar="HOST:PORT", help="of the Ray cluster that this machine is a node of (a new one, here)"
    )
    options.add_argument("--cpus", type=int, metavar="N", help="processor cores of a wave; a device each (1)")
    options.add_argument("--gpus", type=int, metavar="N", help="GPUs of a wave (0: trained on the processor)")
    options.add_argument(
        "--waves",
        type=int,
        metavar="N",
        help="waves to make, at least one a group (as many as Ray can train at once; 8)",
    )
    options.add_argument("--retries", type=int, metavar="N", help="how often a wave is begun again (3)")
    options.add_argument("--partition", metavar="NAME", help="of Slurm (its default)")
    options.add_argument("--minutes", type=int, metavar="N", help="of a Slurm job, which goes on in a further one (60)")


def _cluster(options: argparse.Namespace) -> Any:
    """The cluster that is asked for; None for this process."""
    from research.ablation.cluster.cluster import Cluster
    from research.errors import UserError

    names = ("address", "cpus", "gpus", "waves", "retries", "partition", "minutes")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.cluster == "local":
        if given:
            raise UserError(f"--{next(iter(given))}: belongs to --cluster ray or slurm. Leave it out, or name one.")
        return None
    cluster = Cluster(kind=options.cluster, **given)
    cluster.check("auto")
    return cluster


def add_metrics(command: argparse.ArgumentParser) -> None:
    """Add the option for what is compared."""
    command.add_argument(
        "--metric",
        action="append",
        help="what is compared, such as auroc; may be given several times, the first is tested (the usual one)",
    )
    command.add_argument(
        "--bootstrap",
        type=int,
        metavar="N",
        help="show intervals of the hierarchical bootstrap over seeds and patients too, of N resamples",
    )
    command.add_argument(
        "--best", action="store_true", help="mark the best row as chosen on test data (that of a search is, always)"
    )


def _ablate(options: argparse.Namespace) -> None:
    _check_bootstrap(options.bootstrap)
    cluster = _cluster(options)
    share_out(None if cluster is None else cluster.cpus)
    from research.ablation import file
    from research.ablation.plan import plan_tables, time_text
    from research.ablation.progress import counted
    from research.ablation.run import ablate, plan_only
    from research.ablation.statistics import smallest_p
    from research.experiment_file import EXECUTION, execution_of

    own = [text for text in options.overrides if not text.startswith(EXECUTION)]
    ablation, source = file.load_ablation(options.file, own)
    ablation = file.options(ablation, options.seeds, options.folds, options.nested)
    shared: dict[str, Any] = {
        "name": options.file.stem,
        "ablations": options.ablations,
        "execution": execution_of(options.overrides),
        "strategy": options.strategy,
        "exact": options.exact,
        "cluster": cluster,
        "console": terminal(),
    }
    if options.plan:
        planned, there = plan_only(ablation, fresh=options.fresh, accept_changes=options.accept_changes, **shared)
        for note in ablation.arms()[1]:
            terminal().print(f"note: {note}", style="yellow")
        for part in plan_tables(planned):
            terminal().print(part)
        left = sum(len(each.left) for each in planned)
        more = f"; {there} are there already" if there else ""
        terminal().print(f"{counted(left, 'member')}{time_text(planned)}{more}")
        comparisons = len(ablation.arms()[0]) - 1 + (ablation.inner_folds is not None)
        if comparisons:
            terminal().print(smallest_p(len(ablation.seed_numbers()), comparisons).text())
        return
    result = ablate(ablation, source=source, fresh=options.fresh, accept_changes=options.accept_changes, **shared)
    _show(result, options, shared["execution"].figures)
    terminal().print(
        f"{counted(result.trained, 'member')} trained, {len(result.outcomes) + len(result.inner)} in all; "
        f"{result.directory}"
    )


def _show(result: Any, options: argparse.Namespace, figures: bool) -> None:
    from research.ablation.tables import text_tables

    analysis = _analysis(result, options)
    for part in text_tables(analysis):
        terminal().print(part)
    if figures:
        _draw(result, analysis, terminal())


def _analysis(result: Any, options: argparse.Namespace) -> Any:
    from research.ablation.tables import analysis_of

    return analysis_of(result, options.metric or (), options.bootstrap or 0, options.best)


def _check_bootstrap(resamples: int | None) -> None:
    """Raise `UserError`, before anything trains, for so few resamples that intervals mean nothing."""
    from research.errors import UserError

    if resamples is not None and resamples < FEWEST_RESAMPLES:
        raise UserError(
            f"--bootstrap: at least {FEWEST_RESAMPLES} resamples are needed, {resamples} was given; 1000 is usual. "
            f"Leave it out for no bootstrap."
        )


def _draw(result: Any, analysis: Any, console: Any) -> None:
    """Write the figures; the table does not fail for want of them."""
    from research.ablation.figures import write_figures

    try:
        found = write_figures(result, analysis)
    except Exception as error:
        console.print(f"note: the figures could not be drawn ({type(error).__name__}: {error})", style="yellow")
        return
    for note in found.notes:
        console.print(f"note: {note}", style="yellow")
    if found.paths:
        console.print(f"figures: {found.paths[0].parent}")


def _table(options: argparse.Namespace) -> None:
    from research.ablation.members_table import write_tables
    from research.ablation.result import load_result
    from research.ablation.tables import written
    from research.errors import RunError

    _check_bootstrap(options.bootstrap)
    result = load_result(options.directory)
    try:
        write_tables(options.directory)
    except RunError as error:
        terminal(stderr=True).print(f"note: {error}", style="yellow")
    if options.format == "text":
        _show(result, options, options.figures)
        return
    analysis = _analysis(result, options)
    print(written(analysis, options.format), end="")
    if options.figures:
        _draw(result, analysis, terminal(stderr=True))


def share_out(cores: int | None = None) -> None:
    """Let JAX see one device per processor core, before it starts: members are shared out over them.

    Args:
        cores: how many; None for all of this machine.
    """
    from research.training.processor import FLAG
    from research.training.processor import cores as all_cores

    flags = os.environ.get("XLA_FLAGS", "")
    if FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}={all_cores() if cores is None else cores}".strip()


def _extract(options: argparse.Namespace) -> None:
    share_out()
    from research.ablation.extract import extract

    result = extract(options.directory, options.member, options.to, options.accept_changes)
    terminal().print(f"{options.member} of {options.directory} is now the run {result.directory}")
