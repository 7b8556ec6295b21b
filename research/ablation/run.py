"""`ablate`: plan an ablation, train what is not there yet, and gather what every member came to."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from research.ablation.ablation import Ablation, Arm, Member
from research.ablation.choice import check_strategy
from research.ablation.cluster.cluster import Cluster, Workers, opened
from research.ablation.cluster.send import check_portable, plan_for, train_on
from research.ablation.design import describe_arm, describe_design
from research.ablation.directory import AblationDirectory, Wave
from research.ablation.groups import Group, Ready, Stock, check_comparable, devices_of, group
from research.ablation.members_table import write_tables
from research.ablation.plan import Means, Planned, plan, read_together
from research.ablation.program import EXACT, Strategy
from research.ablation.progress import AblationDisplay
from research.ablation.result import AblationResult, load_result
from research.ablation.waves import run_wave
from research.context import FAST
from research.errors import UserError
from research.experiment import Execution, Parallel, check_execution
from research.spec import diff, fingerprint, to_json
from research.training.code import code_hash
from research.training.compilation_cache import use_compilation_cache
from research.training.determinism import shortcomings
from research.training.lowerings import check_lowerings, offered
from research.training.progress import PreparingDisplay
from research.training.provenance import environment


def ablate(
    ablation: Ablation,
    *,
    name: str = "ablation",
    ablations: str | Path = "ablations",
    execution: Execution | None = None,
    strategy: Strategy | str = "auto",
    exact: bool = False,
    fresh: bool = False,
    accept_changes: bool = False,
    source: Path | None = None,
    cluster: Cluster | None = None,
    console: Console | None = None,
) -> AblationResult:
    """Train every member that is not there yet, or resume; the same call again trains nothing.

    Args:
        ablation: what to train.
        name: folder of the ablation below ``ablations``.
        ablations: where all ablations lie.
        execution: device, feed, cadence of logs and checkpoints; ``parallel`` and ``profile`` are those of single runs.
        strategy: how members of a group are gone through, as `research.ablation.program` says; ``auto`` measures.
        exact: only ways that give the bits of runs of their own.
        fresh: set earlier results aside and train all anew.
        accept_changes: use results although the code has changed since.
        source: file that defines classes which the experiments use; a copy goes into the directory.
        cluster: machines that train; None for this one. Where it has no such devices as they have, ``auto`` is ``map``.
        console: where to show progress; None shows nothing.

    Raises:
        UserError: for a mistake in the ablation or its data, or results of other code or data.
        RunError: for a failure while training; what was saved stays.
    """
    check_strategy(strategy, exact)
    execution = execution or Execution()
    directory = AblationDirectory(Path(ablations) / name)
    arms, notes = ablation.arms()
    members = ablation.members()
    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(_workers(cluster, execution, directory.path))
        if workers is not None:
            check_portable([arm.experiment for arm in arms], source)
        here = _here(execution, workers)
        groups = _groups(members, here, workers, console)
        devices = devices_of(here)
        if console is not None and workers is None:
            for note in shortcomings(here.deterministic, devices[0].platform):
                console.print(f"note: {note}", markup=False, style="yellow")
        now, codes = environment(devices[0], ablation.baseline), codes_of(arms, members)
        about = _described(ablation, name, arms, notes, members)
        directory.check(about, fresh)  # before anything is written there, and again once no one else can
        directory.open()
        stack.callback(directory.close)
        directory.check(about, fresh)
        taken, waves = (set(), []) if fresh else _taken(directory, groups, codes, accept_changes, exact)
        begun = {identity for wave, _, _ in waves for identity in wave.identities}
        means = Means(devices, strategy, exact)
        all_planned = _planned(workers, groups, taken | begun, means, console)
        if fresh:
            directory.set_aside()
        directory.write_plan(about, source)
        stack.callback(write_tables, directory.path)
        for wave, _, _ in waves:
            wave.note_code(now["code"])
        for planned in all_planned:
            feed = "streaming" if planned.group.members[0].streamed else "resident"
            carried_out = {"feed": feed, "lowerings": planned.group.outline.lowerings}
            where = now | {"measured": planned.choice.measured, "memory": planned.bytes} | carried_out
            waves += [
                (directory.begin(part, planned.choice.way, codes, where), list(part), planned.group)
                for part in planned.waves
            ]
        display = AblationDisplay(console, [wave for wave, _, _ in waves], _numbered([its for _, _, its in waves]))
        stack.callback(display.close)
        if workers is None:
            _train_here(waves, execution, devices, display)
        else:
            train_on(workers, directory.path, [wave for wave, _, _ in waves], execution, codes, accept_changes, display)
    total = sum(len(ready) for _, ready, _ in waves)
    return dataclasses.replace(load_result(directory.path), trained=total)


def plan_only(
    ablation: Ablation,
    *,
    name: str = "ablation",
    ablations: str | Path = "ablations",
    execution: Execution | None = None,
    strategy: Strategy | str = "auto",
    exact: bool = False,
    fresh: bool = False,
    accept_changes: bool = False,
    cluster: Cluster | None = None,
    console: Console | None = None,
) -> tuple[tuple[Planned, ...], int]:
    """What `ablate` would train with the same arguments, and how many members are there already.

    Writes nothing but compiled programs, into their cache: those that `ablate` uses. Members of waves that were begun
    and not finished count as still to be trained.

    Raises:
        UserError: as `ablate`.
    """
    check_strategy(strategy, exact)
    execution = execution or Execution()
    directory = AblationDirectory(Path(ablations) / name)
    arms, notes = ablation.arms()
    members = ablation.members()
    with _workers(cluster, execution, directory.path) as workers:
        here = _here(execution, workers)
        groups = _groups(members, here, workers, console)
        codes = codes_of(arms, members)
        directory.check(_described(ablation, name, arms, notes, members), fresh)
        there, begun = (set(), []) if fresh else _taken(directory, groups, codes, accept_changes, exact)
        if console is not None:
            for wave, _, _ in begun:
                how = f"{wave.way}" if wave.lowerings == FAST else f"{wave.way}, lowerings={wave.lowerings}"
                console.print(f"note: {wave.title} was begun and goes on by {how}", markup=False, style="yellow")
        means = Means(devices_of(here), strategy, exact, measures=True)
        return _planned(workers, groups, there, means, console), len(there)


def _workers(
    cluster: Cluster | None, execution: Execution, path: Path
) -> contextlib.AbstractContextManager[Workers | None]:
    """The workers of a cluster; None for this machine."""
    if cluster is None:
        return contextlib.nullcontext()
    return opened(cluster, execution.device, path / "slurm")


def _here(execution: Execution, workers: Workers | None) -> Execution:
    """The execution on this machine, which need not have the kind of device that workers have."""
    return execution if workers is None else execution.replace(device="auto")


def _planned(
    workers: Workers | None, groups: Sequence[Group], done: set[str], means: Means, console: Console | None
) -> tuple[Planned, ...]:
    with contextlib.closing(PreparingDisplay(console)) as told:
        if workers is None:
            return plan(groups, done, means, told)
        return plan_for(workers, groups, done, means, told)


def _train_here(
    waves: Sequence[tuple[Wave, list[Ready], Group]],
    execution: Execution,
    devices: Sequence[Any],
    display: AblationDisplay,
) -> None:
    """Train waves one after the other in this process."""
    for wave, ready, its in waves:
        display.begin(wave)
        with wave.claimed():
            outline = dataclasses.replace(its.outline, lowerings=offered(wave.lowerings, devices[0]))
            run_wave(wave, ready, outline, execution, devices, display)
        display.ended(wave)


def _numbered(groups: Sequence[Group]) -> list[int]:
    """A number for each different group, from 0."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(map(id, groups)))}
    return [numbers[id(its)] for its in groups]


def _groups(
    members: Sequence[Member], execution: Execution, workers: Workers | None, console: Console | None
) -> tuple[Group, ...]:
    """The groups of some members, their data prepared."""
    _check_execution(execution)
    use_compilation_cache()
    if workers is None:
        check_lowerings(execution, devices_of(execution)[0])
    with contextlib.closing(PreparingDisplay(console)) as told:
        groups = group(members, Stock(told), execution)
    check_comparable(groups)
    return groups


def _check_execution(execution: Execution) -> None:
    """Raise `UserError` for values that mean nothing, or nothing in an ablation."""
    check_execution(execution)
    if execution.parallel != Parallel():
        given = ", ".join(f"{name}={value}" for name, (_, value) in diff(Parallel(), execution.parallel).items())
        raise UserError(
            f"execution.parallel: {given} was given, but each member of an ablation is trained on one device, and "
            f"members are spread over all there are. Leave execution.parallel out; research run spreads a single run."
        )
    if execution.profile is not None:
        raise UserError(
            f"execution.profile: {execution.profile[0]},{execution.profile[1]} was given, but an ablation writes no "
            f"traces. Leave it out, and trace one member as a run: research run FILE --profile "
            f"{execution.profile[0]}:{execution.profile[1]}."
        )


def codes_of(arms: Sequence[Arm], members: Sequence[Member]) -> dict[str, str]:
    """Hash of the code behind each member, by identity: a variant may use classes that the baseline does not."""
    by_arm = {arm.name: code_hash(arm.experiment)[0] for arm in arms}
    return {member.identity: by_arm[member.arm] for member in members}


def _described(
    ablation: Ablation, name: str, arms: Sequence[Arm], notes: Sequence[str], members: Sequence[Member]
) -> dict[str, Any]:
    return {
        "name": name,
        "baseline": to_json(ablation.baseline),
        "fingerprint": fingerprint(ablation.baseline),
        "arms": [describe_arm(arm) for arm in arms],
        "design": describe_design(ablation),
        "seeds": list(ablation.seed_numbers()),
        "folds": ablation.folds,
        "inner_folds": ablation.inner_folds,
        "notes": list(notes),
        "members": [
            {name: getattr(m, name) for name in ("name", "arm", "seed", "fold", "inner", "identity")} for m in members
        ],
    }


def _taken(
    directory: AblationDirectory,
    groups: Sequence[Group],
    codes: Mapping[str, str],
    accept_changes: bool,
    exact: bool,
) -> tuple[set[str], list[tuple[Wave, list[Ready], Group]]]:
    """Members whose results are there, and waves to go on with: begun, not finished, and with no other member.

    Raises:
        UserError: where results are of other code or data, or not exact where that is asked.
    """
    wanted = {ready.member.identity: (ready, its) for its in groups for ready in its.members}
    ours = [wave for wave in directory.waves() if wanted.keys() & set(wave.identities)]
    for wave in ours:
        _check_fresh(wave, wanted, codes, accept_changes)
        if exact and wave.way.strategy not in EXACT:
            raise UserError(
                f"{wave.path}: its members are trained by {wave.way}, which does not give the bits of runs of their "
                f"own, and exact was asked for. Leave --exact out, or train all anew with --fresh (the old results are "
                f"kept)."
            )
    taken = {identity for wave in ours if wave.finished for identity in wave.identities} & wanted.keys()
    begun = set(taken)
    unfinished = []
    for wave in (wave for wave in ours if not wave.finished):
        # Part of a wave may be there by now, or not be wanted: what is left of it is trained anew.
        if set(wave.identities) <= wanted.keys() - begun:
            begun |= set(wave.identities)
            members = [wanted[identity][0] for identity in wave.identities]
            _check_readable(wave, members)
            unfinished.append((wave, members, wanted[wave.identities[0]][1]))
    return taken, unfinished


def _check_readable(wave: Wave, members: Sequence[Ready]) -> None:
    """Raise `UserError` where members were begun with several data in device memory, which are now to be on disk."""
    if len(read_together(members)) > 1:
        raise UserError(
            f"{wave.path}: this wave was begun with the data of several folds or variants in device memory, and "
            f"execution.feed=streaming reads one for all of its members. Go on with execution.feed=resident, or train "
            f"all anew with --fresh."
        )


def _check_fresh(
    wave: Wave, wanted: Mapping[str, tuple[Ready, Group]], codes: Mapping[str, str], accept_changes: bool
) -> None:
    members = [member for member in wave.about["members"] if member["identity"] in wanted]
    old = [member for member in members if member["code"] != codes[member["identity"]]]
    if old and not accept_changes:
        raise UserError(
            f"{wave.path}: {len(old)} members, such as {old[0]['name']}, were trained by other code (code "
            f"{old[0]['code']}, now {codes[old[0]['identity']]}). Use the old code, or train all anew with --fresh "
            f"(the old results are kept), or take them as they are with --accept-changes."
        )
    for member in members:
        data = wanted[member["identity"]][0].data
        if data != member["data"]:
            raise UserError(
                f"{wave.path}: {member['name']} was trained on other data (fingerprint {member['data']}, now {data}). "
                f"Restore the data, or train all anew with --fresh (the old results are kept)."
            )
