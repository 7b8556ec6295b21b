"""A member of an ablation as an ordinary run: its checkpoints, its log, its predictions and its report."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
from pathlib import Path
from typing import Any

import jax

from research.ablation.directory import AblationDirectory, Wave
from research.ablation.program import parts_of
from research.ablation.stacking import member_of
from research.context import FAST
from research.errors import UserError, did_you_mean
from research.experiment import Execution, Experiment
from research.results import Result
from research.runner import claim, run_in
from research.spec import from_json
from research.training.carry import Carry
from research.training.checkpoint import Checkpoints
from research.training.compilation_cache import use_compilation_cache
from research.training.lock import NAME
from research.training.lowerings import offered
from research.training.metrics_log import MetricsLog, read_metrics
from research.training.provenance import environment
from research.training.run_directory import RunDirectory
from research.training.setup import Setup, choose_device, set_up


def extract(ablation: Path, member: str, to: Path, accept_changes: bool = False) -> Result:
    """Make a run directory of one's own of a member; the run can be evaluated, used, extended and compared.

    It is made in a hidden folder beside ``to`` and renamed at the end, so that an interruption leaves nothing there.

    Args:
        ablation: the ablation's directory.
        member: its name, such as ``wider/seed=3``.
        to: the run directory to make; it must not exist.
        accept_changes: go on although the code has changed since the member was trained.

    Raises:
        UserError: if there is no such member, it failed or has not finished, or ``to`` is there already.
    """
    if to.exists():
        raise UserError(f"{to}: exists already. Name a new folder with --to.")
    directory = AblationDirectory(ablation)
    source = directory.load_classes()
    wave, number = _find(directory, member)
    about = wave.about["members"][number]
    experiment = from_json(about["experiment"])
    assert isinstance(experiment, Experiment)
    use_compilation_cache()
    where = wave.about["environment"]
    device = choose_device("auto", True)
    lowerings: Any = offered(where.get("lowerings", FAST), device)
    execution = Execution(feed=where.get("feed", "resident"), lowerings=lowerings)
    setup = set_up(experiment, about["seed"], execution)
    carry = _carry(wave, number, setup)
    name, run = directory.read_plan()["name"], RunDirectory(to.with_name(f".{to.name}.extracting"))
    now = environment(setup.device, experiment)
    if about["code"] != now["code"] and not accept_changes:
        raise UserError(
            f"{wave.path}: this member was trained by other code (code {about['code']}, now {now['code']}). Use "
            f"the old code, or take it as it is with --accept-changes."
        )
    run.open()
    try:
        _clear(run.path)
        claim(run, setup, now, name, source, accept_changes)
        _plant(run, carry, wave, number)
    finally:
        run.close()
    result = run_in(run, experiment, seed=about["seed"], execution=execution, name=name, source=source)
    try:
        os.replace(run.path, to)
    except OSError as error:
        raise UserError(
            f"{to}: the run cannot be moved there ({error.strerror}); it is in {run.path}. Move it yourself, or name a "
            f"new folder with --to."
        ) from None
    return dataclasses.replace(result, directory=to)


def _clear(folder: Path) -> None:
    """Remove what an interrupted attempt has left, but for the lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != NAME:
            path.unlink()


def _find(directory: AblationDirectory, member: str) -> tuple[Wave, int]:
    """Wave and place of a member of the ablation as it was asked for last."""
    identities = {each["name"]: each["identity"] for each in directory.read_plan()["members"]}
    if member not in identities:
        raise UserError(
            f"{directory.path}: there is no member {member!r}.{did_you_mean(member, identities)} Names are "
            f"ARM/seed=N, such as {next(iter(identities))!r}."
        )
    found = directory.finished().get(identities[member])
    if found is None:
        raise UserError(f"{member}: its training has not finished. Run research ablate again to finish it.")
    wave, number = found
    failed = wave.outcome()["members"][number]["failed_step"]
    if failed is not None:
        raise UserError(f"{member}: the loss of its update {failed} was not finite, so there is no model.")
    return wave, number


def _carry(wave: Wave, number: int, setup: Setup) -> Carry:
    """The member's part of the last checkpoint."""
    parts, one = parts_of(len(wave.identities), wave.way.replicas), setup.program.carry_like()
    like = tuple(jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(part), *x.shape), x.dtype), one) for part in parts)  # noqa: B023
    with contextlib.closing(Checkpoints(wave.last, writable=False)) as last:
        step = last.latest()
        if step is None:
            raise UserError(f"{wave.last}: the checkpoint is missing.")
        carries = last.restore(step, like, setup.device)
    (part,) = (n for n, members in enumerate(parts) if number in members)
    return member_of(carries[part], number - parts[part].start)


def _plant(run: RunDirectory, carry: Carry, wave: Wave, number: int) -> None:
    """The checkpoints and the log that the run would have left itself."""
    with contextlib.closing(Checkpoints(run.last)) as last, contextlib.closing(Checkpoints(run.best)) as best:
        if carry.best is not None and math.isfinite(float(carry.best.metric)):
            best.save(int(carry.best.step), carry.best.state)
        last.save(int(carry.step), carry)
        last.wait()
        best.wait()
    with contextlib.closing(MetricsLog(run.metrics, 0, None)) as log:
        for record in member_records(read_metrics(wave.curves), number):
            log.write(record)


def member_records(records: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """The records of one member, as the log of a run has them."""
    found = []
    for record in records:
        if number not in record["member"]:
            continue
        place = record["member"].index(number)
        shared = {name: record[name] for name in ("step", "epoch") if name in record}
        own = {name: values[place] for name, values in record.items() if isinstance(values, list) and name != "member"}
        found.append(shared | {name: math.nan if value is None else value for name, value in own.items()})
    return found
