"""The workloads: what is trained, on which shapes, by whom. This file needs neither JAX nor torch."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

UPDATES_PER_EPOCH = 100
"""Batches of the training split: so many updates lie between two evaluations of this framework's runs."""

COMPARED = 5
"""Updates whose losses are compared."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """A model, its data and its batch.

    Attributes:
        name: what it is called on the command line.
        family: name of this framework's model in `research.models`; contestants have a builder for each.
        shape: of the inputs of an example: ``(F,)`` of tables, ``(H, W, C)`` of images, ``(T, C)`` of series.
        classes: number of classes.
        batch: examples per update.
        options: fields of the model; contestants read their numbers from here too.
        dropout: share of units dropped; None: no dropout.
        augmented: whether training images are turned and shifted.
        learning_rate: of AdamW.
        tolerance: largest relative difference of the last of the losses that are compared. Rounding grows with depth:
            of xresnet1d101 PyTorch's own fifth losses in float32 and float64 differ by a hundredth.
        light: whether a batch is so little work that one call for it alone says little.
        members: of an ablation, that are trained together; others train one by one, and all times are of one update
            of one member. 0: no ablation.
    """

    name: str
    family: str
    shape: tuple[int, ...]
    classes: int
    batch: int
    options: dict[str, Any]
    dropout: float | None = None
    augmented: bool = False
    learning_rate: float = 1e-3
    tolerance: float = 1e-3
    light: bool = False
    members: int = 0

    @property
    def kind(self) -> str:
        """Of the data: table, series or image."""
        return {1: "table", 2: "series", 3: "image"}[len(self.shape)]

    @property
    def draws(self) -> bool:
        """Whether training draws at random, so that losses of contestants differ."""
        return self.dropout is not None or self.augmented

    def to_json(self) -> dict[str, Any]:
        """What the JSON file says of it."""
        return dataclasses.asdict(self)


ENCODER = {"width": 128, "depth": 4, "heads": 4, "mlp_ratio": 4.0, "position": "sinusoidal", "readout": "mean"}
VIT = {"width": 192, "depth": 12, "heads": 3, "mlp_ratio": 4.0, "patch": 4}

PLAIN = (
    Workload("perceptron", "MLP", (30,), 2, 32, {"widths": (64, 64)}, light=True),
    Workload("cnn", "CNN", (32, 32, 3), 10, 32, {"widths": (32, 64), "dense_widths": (64,)}),
    Workload("resnet18", "ResNet", (28, 28, 1), 10, 128, {"depth": 18}, learning_rate=1e-4),
    Workload("resnet20", "ResNet", (32, 32, 3), 10, 128, {"depth": 20}, learning_rate=1e-4),
    Workload("lstm", "RNN", (250, 12), 5, 32, {"cell": "lstm", "widths": (128,), "bidirectional": False}),
    Workload("gru", "RNN", (250, 12), 5, 32, {"cell": "gru", "widths": (128,), "bidirectional": False}),
    Workload("bilstm", "RNN", (250, 12), 5, 32, {"cell": "lstm", "widths": (128,), "bidirectional": True}),
    Workload("fcn", "FCN", (140, 1), 2, 16, {}),
    Workload("inceptiontime", "InceptionTime", (140, 1), 2, 16, {}),
    Workload("xresnet1d101", "XResNet1D", (250, 12), 5, 32, {"depth": 101}, learning_rate=1e-4, tolerance=0.1),
    Workload("encoder", "SeriesTransformer", (128, 12), 5, 32, ENCODER),
    Workload("vit", "ViT", (28, 28, 1), 10, 32, VIT, learning_rate=1e-4),
)
"""Without dropout and augmentation: the first losses of all contestants must agree."""

DROPOUT = {"MLP": 0.1, "CNN": 0.5, "RNN": 0.2, "FCN": 0.2, "InceptionTime": 0.2, "XResNet1D": 0.5}
TRANSFORMER_DROPOUT = 0.1


MEMBERS = 512


def _workloads() -> Iterator[Workload]:
    for plain in PLAIN:
        yield plain
        if plain.family == "ResNet":
            yield dataclasses.replace(plain, name=f"{plain.name}-augmented", augmented=True)
        else:
            rate = DROPOUT.get(plain.family, TRANSFORMER_DROPOUT)
            dropped = dataclasses.replace(plain, name=f"{plain.name}-dropout", dropout=rate)
            yield dropped
            if plain.name == "perceptron":
                for each in (plain, dropped):
                    yield dataclasses.replace(each, name=each.name.replace("perceptron", "members"), members=MEMBERS)
            if plain.name == "cnn":
                yield dataclasses.replace(plain, name="cnn-augmented", augmented=True)


WORKLOADS = {workload.name: workload for workload in _workloads()}

TRANSLATION, ROTATION = 0.1, 10.0
"""Of augmented images: largest shift, as a share of each side, and largest turn, in degrees; half are flipped."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A contestant in one setting, which runs in a process of its own.

    Attributes:
        name: what the table calls it.
        module: of `speed_suite`, whose ``Contestant`` it is.
        options: what the module makes of it.
        tuned: whether its C library is told to keep memory, as this framework tells it; see
            `research.allocator`.
    """

    name: str
    module: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    tuned: bool = False


CONTESTANTS = ("research", "loop", "updates", "jit", "nnx", "keras", "torch", "lightning")
"""``loop`` is ``research`` without evaluations, in turns with its updates alone in the same process, which says what
share of the time is the loop's; ``updates`` is the compiled updates alone in a process of their own.
``jit`` is the step of ``nnx`` under plain ``jax.jit``, of light models."""

EAGER = "torch-eager"
"""In place of ``torch``: without ``torch.compile``, which takes minutes for the deepest models."""


def torch_entries(workload: Workload) -> list[Entry]:
    """PyTorch's settings that are tried, with the C library's own allocator."""
    attentions = ("own", "layer") if workload.family in ("SeriesTransformer", "ViT") else (None,)
    layouts = (False, True) if workload.kind == "image" and workload.family != "ViT" else (False,)
    threads = (1, 2) if workload.light else (None,)
    found = []
    for attention, channels_last, count, compiled in itertools.product(attentions, layouts, threads, (False, True)):
        if compiled and attention == "layer":
            continue
        parts = ["torch", "compile" if compiled else "eager"]
        parts += ["channels_last"] if channels_last else []
        parts += [{"own": "sdpa", "layer": "TransformerEncoderLayer"}[attention]] if attention else []
        parts += [f"{count} threads"] if count else []
        options = {"compile": compiled, "channels_last": channels_last, "threads": count, "attention": attention}
        found.append(Entry(" ".join(parts), "pytorch", options))
    return found


def entries(workload: Workload, names: tuple[str, ...], inference: bool) -> list[Entry]:
    """The settings of the contestants asked for; of PyTorch all that are tried."""
    found = []
    if workload.members:
        found = [Entry(f"research, {workload.members} members", "members")] if "research" in names else []
        names = tuple(name for name in names if name in ("updates", "torch", EAGER))
    for name in names:
        if name in ("torch", EAGER):
            found.extend(each for each in torch_entries(workload) if name == "torch" or not each.options["compile"])
        elif name in ("loop", "updates"):
            called = {"loop": "research without evaluations", "updates": "research, updates alone"}[name]
            found += [] if inference else [Entry(called, "ours", {"part": name})]
        elif name == "jit":
            found += [Entry("jax.jit", "nnx_idiom", {"functional": True})] if workload.light else []
        elif name == "lightning":
            if workload.family in ("MLP", "CNN") and not inference:
                found.append(Entry("lightning", "lightning_loop", {"threads": 1 if workload.light else None}))
        else:
            module = {"research": "ours", "nnx": "nnx_idiom", "keras": "keras_jax"}[name]
            found.append(Entry(name, module))
    return found
