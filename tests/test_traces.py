"""One program for many numbers: every number of every registered spec, and whole runs, are traced exactly once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_spec import every_spec, numbers, numeric_leaves, switched_on

import research
from research import keys
from research.algorithms import Algorithm, Supervised
from research.context import Context
from research.data import (
    Augmentation,
    ImageData,
    Pixels,
    SeriesAugmentation,
    SeriesData,
    Source,
    Statistics,
    SyntheticTable,
    TableData,
)
from research.data.batch import Batch
from research.experiment import Evaluation, Execution, Experiment, Selection
from research.losses import BinaryCrossEntropy, CrossEntropy, Focal, Loss
from research.models import (
    CNN,
    FCN,
    MLP,
    RNN,
    DenseNet,
    InceptionTime,
    RecordTransformer,
    ResNet,
    ResNet1D,
    SeriesMLP,
    SeriesTransformer,
    ViT,
    Windowed,
    XResNet1D,
    functional,
)
from research.models.model import Forward, Model
from research.optimizers import AdamW, Optimizer
from research.schedules import Schedule, WarmupCosine
from research.spec import Spec, replace
from research.task import Task

ROWS = 6
INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(ROWS, 3)), jnp.float32)
CLASSES = jnp.arange(ROWS, dtype=jnp.int32) % 2
NUMBERS = jnp.arange(ROWS, dtype=jnp.int32)
BATCH = Batch(INPUTS, CLASSES, jnp.ones(ROWS, bool), NUMBERS, NUMBERS, Task("binary", ("no", "yes")))


def loss(spec: Loss) -> Any:
    kind = spec.kinds[0]
    task = Task(kind, ("died",) if kind == "survival" else ("a", "b"))
    targets = CLASSES
    if kind == "regression":
        targets = INPUTS[:, :2]
    if kind == "survival":
        targets = jnp.stack([jnp.abs(INPUTS[:, 0]), CLASSES.astype(jnp.float32)], axis=1)
    outputs = jnp.concatenate([2 * INPUTS, INPUTS**2], axis=1)[:, : spec.outputs(task)]
    return spec.per_example(outputs, targets), spec.predict(outputs, task)


def schedule(spec: Schedule) -> Any:
    return [spec.value(step, 20) for step in (1, 10, 19)]


def optimizer(spec: Optimizer) -> Any:
    params = {"kernel": INPUTS, "bias": INPUTS[0]}
    transformation = spec.build(20)
    state = transformation.init(params)
    # The last two are so small that the sign of a momentum depends on how much is remembered.
    for factor in (1.0, -0.0005, -0.005):
        gradients = jax.tree.map(lambda p, f=factor: f * (1 + jnp.square(p)), params)
        updates, state = transformation.update(gradients, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params


def model(spec: Model) -> Any:
    forward = Forward(train=True, keys=keys.example_keys(jax.random.key(0), BATCH.example))
    inputs = next((inputs for family, inputs in INPUTS_OF.items() if isinstance(spec, family)), INPUTS)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
    params, state = functional.initialise(spec, shapes, 2, jax.random.key(1))
    return functional.apply(spec, params, state, inputs, 2, forward, jax.random.key(2))


def algorithm(spec: Algorithm) -> Any:
    return experiment(
        Experiment(
            data=TableData(source=SyntheticTable()),
            model=MLP(widths=(4,)),
            loss=CrossEntropy(),
            algorithm=spec,
            steps=20,
        )
    )


def experiment(spec: Experiment) -> Any:
    state = spec.algorithm.init(spec, jax.random.key(0), BATCH)
    for step in range(2):
        state, scalars = spec.algorithm.update(spec, state, BATCH, jax.random.key(step), Context(total_updates=20))
    return scalars, spec.algorithm.deployed(spec, state)


SCALED = jnp.asarray(np.random.default_rng(2).random((ROWS, 32, 32, 1)), jnp.float32)
TIMES = jnp.asarray(np.random.default_rng(3).random((ROWS, 7)).cumsum(1), jnp.float32)
SEEN = {
    "values": jnp.asarray(np.random.default_rng(4).normal(size=(ROWS, 7, 2)), jnp.float32),
    "observed": jnp.ones((ROWS, 7, 2), bool),
    "time": TIMES,
    "length": jnp.arange(ROWS, dtype=jnp.int32) + 2,
}
RECORDS = {
    "codes": jnp.asarray(np.random.default_rng(5).integers(1, 9, (ROWS, 7)), jnp.int32),
    "time": TIMES,
    "visit": jnp.arange(7 * ROWS, dtype=jnp.int32).reshape(ROWS, 7),
    "age": 50 + TIMES,
    "length": SEEN["length"],
}
PICTURES = jnp.asarray(np.random.default_rng(1).integers(0, 256, size=(ROWS, 8, 8, 2)), jnp.uint8)
STORED = {
    "values": jnp.asarray(np.random.default_rng(3).normal(size=(ROWS, 5, 2)), jnp.float32),
    "length": jnp.asarray([5, 3, 1, 5, 4, 2], jnp.int32),
    "static": INPUTS[:, :1],
}
STATISTICS = Statistics(mean=(0, 1), deviation=(1, 2), static_mean=(0,), static_deviation=(1,))
SERIES = SeriesData(source=Source(), lengths=(5,), statistics=STATISTICS)
INPUTS_OF: dict[Any, Any] = {
    CNN | ResNet | DenseNet | ViT: SCALED,
    RecordTransformer: RECORDS,
    RNN | FCN | InceptionTime | ResNet1D | SeriesMLP | SeriesTransformer | Windowed | XResNet1D: SEEN,
}


def series_data(spec: SeriesData) -> Any:
    batch = dataclasses.replace(BATCH, inputs=STORED)
    return [spec.transform(batch, jax.random.key(0)), spec.transform(batch)]


def statistics(spec: Statistics) -> Any:
    return series_data(SERIES.replace(statistics=spec))


def series_augmentation(spec: SeriesAugmentation) -> Any:
    return series_data(SERIES.replace(augmentation=spec))


def image_data(spec: ImageData) -> Any:
    batch = dataclasses.replace(BATCH, inputs=PICTURES)
    return [spec.transform(batch, jax.random.key(0)), spec.transform(batch)]


def pixels(spec: Pixels) -> Any:
    return image_data(ImageData(source=Source(), pixels=spec))


def augmentation(spec: Augmentation) -> Any:
    return image_data(ImageData(source=Source(), augmentation=spec))


USES: tuple[tuple[type[Spec], Any], ...] = (
    (Loss, loss),
    (Schedule, schedule),
    (Optimizer, optimizer),
    (Model, model),
    (Algorithm, algorithm),
    (Experiment, experiment),
    (ImageData, image_data),
    (SeriesData, series_data),
    (Statistics, statistics),
    (SeriesAugmentation, series_augmentation),
    (Pixels, pixels),
    (Augmentation, augmentation),
    (Spec, jax.tree.leaves),
)
"""What each family of specs does within a traced function; specs of the host have leaves at most."""

UNUSED = {
    "average": "by the algorithm, not by the optimizer",
    "minimum_improvement": "in assessing, tested on whole runs below",
}


@pytest.mark.parametrize("name", every_spec())
def test_many_values_of_each_number_share_one_trace(name: str) -> None:
    cls = every_spec()[name]
    spec = switched_on(cls)
    if isinstance(spec, Focal):
        spec = spec.replace(class_weight=None)
    if isinstance(spec, BinaryCrossEntropy):
        spec = spec.replace(positive_weight=spec.positive_weight[:1])
    use = next(use for family, use in USES if issubclass(cls, family))
    traces = 0

    @jax.jit
    def traced(spec: Spec) -> Any:
        nonlocal traces
        traces += 1
        return use(spec)

    first = bits(traced(spec))
    for path, limits in numeric_leaves(spec):
        found = [bits(traced(replace(spec, {path: number}))) for number in numbers(limits)]
        used = any(result != first for result in found)
        assert used or path.rpartition(".")[2] in UNUSED, f"{path} changes nothing"
    assert traces == 1


def bits(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


ADAM_HAS_BESIDES = ("b2", "eps")
FULL = Experiment(
    data=TableData(source=SyntheticTable(patients=150)),
    model=MLP(widths=(4,), dropout=0.1, normalization="batch"),
    loss=CrossEntropy(label_smoothing=0.1, class_weight=(1, 2)),
    optimizer=AdamW(learning_rate=WarmupCosine(peak=1e-2), clip_norm=1, average=0.9, accumulate=2),
    algorithm=Supervised(l1=1e-4, l2=1e-4),
    steps=24,
    evaluation=Evaluation(every_steps=8, select=Selection(metric="auroc", patience=5), resamples=100),
)
OTHER_NUMBERS = {
    "model.dropout": 0.5,
    "loss.label_smoothing": 0.3,
    "loss.class_weight": (3, 1),
    "optimizer.learning_rate.peak": 1e-3,
    "optimizer.learning_rate.floor": 1e-5,
    "optimizer.weight_decay": 0.2,
    "optimizer.clip_norm": 0.1,
    "optimizer.average": 0.5,
    "optimizer.b1": 0.5,
    "algorithm.l1": 1e-2,
    "algorithm.l2": 1e-2,
    "evaluation.select.minimum_improvement": 0.01,
}


def test_whole_runs_with_other_numbers_compile_nothing(tmp_path: Path, compiles: Any) -> None:
    quiet = Execution(tensorboard=False, figures=False)
    first = research.run(FULL, runs=tmp_path, execution=quiet)
    before = compiles()
    assert before > 0  # the counter can count
    others = replace(FULL, OTHER_NUMBERS)
    changed = [a != b for a, b in zip(jax.tree.leaves(FULL), jax.tree.leaves(others), strict=True)]
    assert changed.count(False) == len(ADAM_HAS_BESIDES)
    second = research.run(others, runs=tmp_path, execution=quiet, seed=7)
    assert compiles() == before
    assert first.metrics["log_loss"].value != second.metrics["log_loss"].value
