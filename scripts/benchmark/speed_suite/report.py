"""What was measured as a table, as verdicts on what was asked for, and as a bar chart."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

TARGETS: dict[str, tuple[tuple[str, float], ...]] = {
    "perceptron": (("torch", 8.0), ("jit", 2.0), ("nnx", 8.0), ("keras", 8.0)),
    "perceptron-dropout": (("torch", 8.0), ("jit", 1.4)),
    "members": (("torch", 18.0), ("updates", 22 / 13)),
    "cnn": (("torch", 1.6), ("nnx", 5.0), ("keras", 5.0)),
    "resnet18": (("torch", 0.65), ("nnx", 1.2), ("keras", 1.2)),
    "fcn": (("torch", 1.0), ("nnx", 1.0), ("keras", 1.0)),
    "inceptiontime": (("torch", 1.0), ("nnx", 1.0), ("keras", 1.0)),
    "lstm": (("torch", 1.4), ("torch tuned", 0.85), ("nnx", 2.0), ("keras", 2.0)),
    "gru": (("torch", 1.4), ("torch tuned", 0.85), ("nnx", 2.0), ("keras", 2.0)),
    "encoder": (("torch", 1.25), ("nnx", 1.7), ("keras", 1.7)),
    "vit": (("torch", 1.25), ("nnx", 1.7), ("keras", 1.7)),
}
"""How many times as fast as each group's best a training step is to be at least."""

INFERENCE = (("torch", 1.0), ("nnx", 1.5), ("keras", 1.5))
SHARES = {"cnn": 0.4, "encoder": 0.4}
"""Least share of the machine's matmul rate."""

LOOP = 0.02
"""Largest share of a training between two evaluations that is not its updates."""

COLOURS = {"research": "#1b6ca8", "torch tuned": "#d95f02", "nnx": "#7570b3", "keras": "#999999"}
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
HEAD = ("contestant", "ms", "quartiles", "examples/s", "× torch", "× tuned", "GFLOP/s", "matmul", "first step, s")
HEAD = (*HEAD, "memory, MiB", "agreement")


def best(result: dict[str, Any], group: str) -> dict[str, Any] | None:
    """The fastest setting of a group."""
    found = [each for each in result["contestants"].values() if each["group"] == group]
    return min(found, key=lambda each: each["seconds"], default=None)


def ratio(result: dict[str, Any], one: dict[str, Any] | None, group: str) -> float | None:
    """How many times as fast as the best of a group; None where one of them is not there."""
    other = best(result, group)
    return None if one is None or other is None else other["seconds"] / one["seconds"]


def table(result: dict[str, Any]) -> str:
    """The contestants of one workload, in Markdown; rates are by this framework's count of arithmetic for all."""
    title = result["workload"]["name"] + ("" if result["mode"] == "train" else f", inference of {result['batch']}")
    flops, rate = rates(result)
    lines = [
        f"### {title}: {result['facts']['parameters']:,} parameters, batch {result['batch']}, "
        f"{flops / 1e9:.3g} GFLOP; matmul {rate / 1e9:.0f} GFLOP/s\n",
        f"| {' | '.join(HEAD)} |",
        f"|{'---|' * len(HEAD)}",
    ]
    for name, told in sorted(result["contestants"].items(), key=lambda item: item[1]["seconds"]):
        seconds = told["seconds"]
        low, high = (f"{1e3 * each:.4g}" for each in told["quartiles"])
        beside = [ratio(result, told, group) for group in ("torch", "torch tuned")]
        cells = [name, f"{1e3 * seconds:.4g}", f"{low} to {high}", f"{result['batch'] / seconds:,.0f}"]
        cells += ["" if each is None else f"{each:.2f}" for each in beside]
        cells += [f"{flops / seconds / 1e9:.3g}", f"{100 * flops / seconds / rate:.0f} %"]
        memory = f"{(told['memory_peak'] - told['memory_after_import']) / 2**20:,.0f}"
        memory += f" + {told['memory_after_import'] / 2**20:,.0f}"
        cells += [f"{told['first_step_seconds']:.1f}", memory, told["agreement"]]
        lines.append(f"| {' | '.join(cells)} |")
    event = next((each["event_seconds"] for each in result["contestants"].values() if "event_seconds" in each), None)
    if event is not None:
        lines.append(
            f"\nevery 100 updates of research: {1e3 * event:.2g} ms for an evaluation and its lines in the logs"
        )
    lines += [f"\nnot measured: {text}" for text in result["skipped"].values()]
    return "\n".join(lines)


def rates(result: dict[str, Any]) -> tuple[float, float]:
    """FLOPs of a step, or of a forward pass, and the best of the machine's matmul rates, in FLOP/s."""
    rate = max(each for library in result["matmul"].values() for each in library.values())
    facts = result["facts"]
    if result["mode"] == "train":
        return facts["flops"], rate
    return facts["forward_flops"] * result["batch"] / result["workload"]["batch"], rate


def summary(results: list[dict[str, Any]]) -> str:
    """A line for each workload with the best of each group, in milliseconds, in Markdown."""
    groups = ("research", "torch", "torch tuned", "nnx", "keras", "lightning")
    lines = [f"| workload | {' | '.join(groups)} | x torch | x tuned |", f"|{'---|' * (len(groups) + 3)}"]
    for result in results:
        label = result["workload"]["name"] + ("" if result["mode"] == "train" else f", inference of {result['batch']}")
        ours = best(result, "research")
        cells = ["" if (found := best(result, group)) is None else f"{1e3 * found['seconds']:.3g}" for group in groups]
        cells += ["" if (r := ratio(result, ours, group)) is None else f"{r:.2f}" for group in groups[1:3]]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts(results: list[dict[str, Any]]) -> str:
    """What was asked for, what was found, and whether that is enough, in Markdown."""
    rows = []
    for result in results:
        name, train = result["workload"]["name"], result["mode"] == "train"
        label = name if train else f"{name}, inference of {result['batch']}"
        loop = best(result, "loop")
        if loop is not None and (shares := loop.get("loop_shares")):
            share = statistics.median(shares)
            found = f"{share:.1%} ({min(shares):.1%} to {max(shares):.1%})"
            rows.append((label, "share of the loop", f"at most {LOOP:.0%}", found, share <= LOOP))
        ours = best(result, "research")
        if ours is None:
            continue
        for group, wanted in TARGETS.get(name, ()) if train else INFERENCE:
            found = ratio(result, ours, group)
            if found is not None:
                rows.append((label, f"times as fast as {group}", f"{wanted:g}", f"{found:.2f}", found >= wanted))
        if train and name in SHARES:
            flops, rate = rates(result)
            share = flops / ours["seconds"] / rate
            rows.append((label, "share of matmul", f"{SHARES[name]:.0%}", f"{share:.0%}", share >= SHARES[name]))
    lines = ["| workload | what | asked | found | verdict |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(r[:4])} | {'met' if r[4] else 'MISSED'} |" for r in rows)])


def chart(results: list[dict[str, Any]], path: Path) -> None:
    """Speed of each group's best in each workload's training; PyTorch with its own allocator is the line at 1."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [each for each in results if each["mode"] == "train" and best(each, "torch") is not None]
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.6 * len(shown)), layout="constrained")
    height = 0.8 / len(COLOURS)
    for number, (group, colour) in enumerate(COLOURS.items()):
        found = [(row, ratio(each, best(each, group), "torch")) for row, each in enumerate(shown)]
        bars = [(row, value) for row, value in found if value is not None]
        places, widths = [row + number * height for row, _ in bars], [value for _, value in bars]
        drawn = axes.barh(places, widths, height, color=colour, label=group)
        axes.bar_label(drawn, [f"{value:.2g}" for value in widths], padding=2, fontsize=7)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(shown))], [each["workload"]["name"] for each in shown])
    axes.set_ylim(len(shown) - 0.1, -0.2)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color="black", linewidth=0.8, zorder=0)
    axes.set_xlabel("training steps per second; 1: PyTorch in its best setting, with the default allocator")
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
