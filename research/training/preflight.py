"""The preflight card: what is about to happen, in numbers, before the first step."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from research.allocator import LARGE_PAGES, TUNABLES, large_pages_missed
from research.context import FAST, REFERENCE
from research.experiment import Precision
from research.schedules import Schedule
from research.training.carry import Carry
from research.training.compiling import barriers_hold
from research.training.determinism import shortcomings
from research.training.lowerings import LEAST_TRAINING, MOST_TURNED
from research.training.processor import cores, posed
from research.training.setup import Setup, looks_ahead


@dataclasses.dataclass(frozen=True)
class Preflight:
    """The facts of the card, as JSON carries them.

    Attributes:
        data: summary of the data, as in ``data.json``; None without data.
        facts: label and value of each line, in order.
        notes: what the reader should know besides.
        arrays: name, shape and bytes on each device of every array of the state, and along which axis of the mesh each
            of its own axes lies apart; for pretended devices alone, and not on the card.
    """

    data: dict[str, Any] | None
    facts: dict[str, str]
    notes: tuple[str, ...]
    arrays: tuple[dict[str, Any], ...] = ()

    def card(self, title: str) -> RenderableType:
        """The card for a terminal of 80 columns."""
        facts = Table.grid(padding=(0, 2))
        for label, value in self.facts.items():
            facts.add_row(Text(label, style="dim"), Text(value))
        parts: list[RenderableType] = [facts]
        if self.data is not None:
            parts.insert(0, _splits(self.data))
        parts.extend(Text(f"note: {note}", style="yellow") for note in self.notes)
        return Panel(Group(*parts), title=Text(title), title_align="left")

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        told = {"data": self.data, "facts": self.facts, "notes": list(self.notes)}
        return told | ({"arrays": list(self.arrays)} if self.arrays else {})


def preflight(setup: Setup, carry: Carry, directory: Path, notes: tuple[str, ...] = ()) -> Preflight:
    """The facts of a run that is about to start; compiles the programs, which the run then uses."""
    # A run that has made its last update is still to be reported: any window has the shapes.
    at = min(int(carry.step), setup.cadence.total - 1)
    window = setup.feed.window(at) if setup.feed is not None else None
    cost = setup.program.compile(carry, window, setup.splits.get("validation"), setup.cadence.evaluate is not None)
    cadence, experiment = setup.cadence, setup.experiment
    parameters = sum(leaf.size for leaf in jax.tree.leaves(carry.state.params))
    facts: dict[str, str] = {}
    if setup.prepared is not None:
        facts["dataset"] = f"{setup.prepared.about.name}, fingerprint {setup.prepared.fingerprint}"
    facts["parameters"] = f"{parameters:,}"
    facts["one update"] = f"{quantity(cost['flops_per_update'], 'FLOP')} in matrix products"
    facts["memory"] = (
        f"{quantity(cost['temporary_bytes'], 'B')} working + {quantity(cost['argument_bytes'], 'B')} data and state"
    )
    facts["batches"] = arithmetic(setup)
    if setup.lowered:
        facts["lowerings"] = setup.lowered
    if setup.fed:
        facts["feed"] = setup.fed
    if setup.prepared is not None and (padding := setup.prepared.padding()) is not None:
        lengths = ", ".join(map(str, setup.prepared.data.cut_lengths()))
        facts["padding"] = f"{100 * padding:.0f} % of the steps; batches are cut to {lengths} steps"
    select = experiment.evaluation.select
    if select is not None:
        patience = f"; stops after {select.patience} evaluations without gain" if select.patience else ""
        facts["weights"] = f"those with the best {select.metric} on validation{patience}"
    if int(carry.step) >= cadence.total:
        facts["resuming"] = f"not needed: all {cadence.total:,} updates are made"
    elif carry.step > 0:
        facts["resuming"] = f"after update {int(carry.step):,}"
    kind = setup.device.device_kind
    named = kind if kind == setup.device.platform else f"{kind} ({setup.device.platform})"
    layout = setup.program.outline.layout
    here = jax.device_count(setup.device.platform)
    alone = f"{named}, {cores()} cores"
    used = f"{named}, {1 if layout is None else len(layout.devices)} of {here} used"
    facts["device"] = alone if posed(setup.device.platform) else used
    if setup.choice is not None and str(setup.choice):
        facts["parallel"] = str(setup.choice)
    elif layout is not None:
        facts["parallel"] = layout.described(setup.program.outline.batch_size, setup.execution.parallel.mode)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(carry))
    updates = f"every {cadence.checkpoint:,} updates, " if cadence.checkpoint is not None else ""
    minutes = f"every {setup.execution.checkpoint_minutes:g} min and at the end"
    facts["checkpoint"] = f"about {quantity(size, 'B')} {updates}{minutes}"
    facts["seed"] = str(setup.seed)
    facts["run directory"] = str(directory)
    working, long = cost["temporary_bytes"], cost["flops_per_update"] * cadence.total >= LEAST_TRAINING
    if long and setup.device.platform == "cpu" and large_pages_missed(working):
        notes = (
            *notes,
            f"{TUNABLES}={LARGE_PAGES} before the command lets the {quantity(working, 'B')} that it works in come in "
            f"large pages, by which such runs took up to a seventh less time",
        )
    turned, total = cost["turned_flops"], cost["flops_per_update"]
    if setup.device.platform == "cpu" and turned > MOST_TURNED * total:
        notes = (*notes, _slow_convolutions(turned / total, setup.program.outline.lowerings))
    if cadence.total > (total := setup.program.total_updates):
        notes = (*notes, f"extended: after update {total:,} the learning rate stays at {_final_rate(setup):.3g}")
    if layout is not None:
        notes = (*notes, *layout.unused(carry.state))
    if (kinds := _types(experiment.precision)) is not None:
        notes = (*notes, kinds)
    notes = (*notes, *shortcomings(setup.execution.deterministic, setup.device.platform))
    if setup.execution.remat != "none":
        notes = (*notes, "what blocks keep for the backward pass is computed again there")
        if setup.device.platform == "cpu" and not barriers_hold():
            notes = (*notes, "this version of XLA may undo execution.remat on a processor: memory as without it")
    summary = setup.prepared.summary() if setup.prepared is not None else None
    notes = (*(summary or {}).get("warnings", ()), *looks_ahead(experiment, setup.program.outline.task), *notes)
    return Preflight(summary, facts, tuple(notes))


def _types(precision: Precision) -> str | None:
    """Types other than float32, in words; None where there are none."""
    parts = {
        "parameters": precision.params,
        "forward and backward passes": precision.compute,
        "outputs": precision.output,
    }
    return ", ".join(f"{what} in {kind}" for what, kind in parts.items() if kind != "float32") or None


def _slow_convolutions(share: float, lowerings: str) -> str:
    percent = f"{100 * share:.0f} %"
    told = f"{percent} of the arithmetic are convolutions in forms that are five to two hundred times as slow here"
    if lowerings == REFERENCE:
        return f"{told}, by execution.lowerings={REFERENCE}; {FAST} has other ones"
    return (
        f"{told}: channels not last, or gradients of jax.lax.conv_general_dilated, as in flax.nnx.ConvTranspose. "
        f"flax.nnx.Conv without input_dilation, and the layers of research.models.layers, have other ones"
    )


def _final_rate(setup: Setup) -> float:
    """The learning rate at which a schedule ends."""
    rate, total = setup.experiment.optimizer.learning_rate, setup.program.total_updates
    return float(rate.value(total, total)) if isinstance(rate, Schedule) else rate


def arithmetic(setup: Setup) -> str:
    """Batches, updates and epochs of a run."""
    total = setup.cadence.total
    if setup.reading is None:
        return f"{total:,} updates, without data"
    reading, per_epoch = setup.reading, setup.reading.updates_per_epoch
    seen = reading.examples * total / per_epoch
    several = f" of {reading.batches_per_update} batches" if reading.batches_per_update > 1 else ""
    return (
        f"{reading.batch_size} examples; {per_epoch} updates{several} per epoch; {total:,} updates = "
        f"{total / per_epoch:g} epochs; {seen:,.0f} examples seen{_accumulation(setup)}"
    )


def _accumulation(setup: Setup) -> str:
    batches = setup.experiment.optimizer.accumulate
    return f"; weights change every {batches} updates, by their mean gradient" if batches > 1 else ""


def _splits(data: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("split", "examples", "patients", "classes"):
        table.add_column(heading, justify="left" if heading in ("split", "classes") else "right")
    for name, split in data["splits"].items():
        patients = "not known" if split["patients"] is None else f"{split['patients']:,}"
        table.add_row(name, f"{split['examples']:,}", patients, Text(_classes(split)))
    return table


def _classes(split: dict[str, Any]) -> str:
    if counts := split.get("classes"):
        return ", ".join(f"{name} {count:,}" for name, count in counts.items())
    if labels := split.get("labels"):
        return ", ".join(f"{name} {count['positive']:,}" for name, count in labels.items())
    if events := split.get("events"):
        return f"{events['came']:,} events, {events['censored']:,} censored"
    means = split.get("targets", {})
    return ", ".join(f"{n} {v['mean']:.4g} ± {v['standard_deviation']:.3g}" for n, v in means.items())


def quantity(value: float, unit: str) -> str:
    """A number with its unit and three digits, such as ``1.5 MB``."""
    if math.isnan(value):
        return "not known"
    for prefix in ("", "k", "M", "G", "T"):
        if abs(value) < 1000:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1000
    return f"{value:.3g} P{unit}"
