"""Every registered spec of the package, with an instance in which each optional number is switched on."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import jax
from flax import nnx

import research
from research.data import CSV, Statistics, SyntheticTable, TableData
from research.losses import CrossEntropy
from research.models import FCN, MLP
from research.models.own_module import OwnModule
from research.spec import Spec, registered_specs
from research.spec.fields import Range, alternatives, is_static
from research.spec.values import field_annotations


class Net(nnx.Module):
    """A user's own module, as `OwnModule` takes it."""

    def __init__(self, in_features: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.last = nnx.Linear(in_features, outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(x)


EXAMPLES: dict[str, Any] = {
    "CSV": {"path": "patients.csv", "target": "died"},
    "ImageData": {"source": SyntheticTable(patients=120)},
    "TableData": {"source": SyntheticTable(patients=120)},
    "CNN": {"widths": (2, 2)},
    "DICOM": {"path": "films", "labels": "films.csv", "target": "y"},
    "DenseNet": {"blocks": (1, 1), "growth": 2},
    "EventData": {"source": SyntheticTable(patients=120)},
    "DiscreteTimeHazard": {"cuts": (1.0, 2.0)},
    "Experiment": {
        "data": TableData(source=SyntheticTable(patients=120)),
        "model": MLP(widths=(4,)),
        "loss": CrossEntropy(),
        "steps": 8,
    },
    "Filter": {"low": 0.5},
    "FCN": {"widths": (2,), "kernels": (3,)},
    "ImageFolder": {"path": "films"},
    "ImagesCSV": {"path": "films.csv", "target": "y"},
    "MEDS": {"task": "next_code"},
    "InceptionTime": {"depth": 1, "filters": 2, "kernels": (4,)},
    "OwnModule": {"module": Net},
    "SeriesCSV": {"path": "vitals.csv", "target": "died", "patient": "id"},
    "SignalFolder": {"path": "ecg", "labels": "ecg.csv", "target": "y"},
    "TFDS": {"dataset": "cifar10"},
    "UCR": {"name": "ECG200"},
    "ResNet": {"blocks": (1, 1), "width": 2},
    "SeriesData": {
        "source": SyntheticTable(patients=120),
        "lengths": (5,),
        "statistics": Statistics(mean=(0, 1), deviation=(1, 2), static_mean=(0,), static_deviation=(1,)),
    },
    "StartFrom": {"run": "runs/earlier"},
    "Statistics": {"mean": (0, 1), "deviation": (1, 2), "static_mean": (0,), "static_deviation": (1,)},
    "ResNet1D": {"widths": (2,), "kernels": (3,)},
    "SeriesMLP": {"widths": (3, 2), "dropout": (0.3, 0.3, 0.3)},
    "Windowed": {"model": FCN(widths=(2,), kernels=(3,), dropout=0.3), "length": 7},
    "XResNet1D": {"blocks": (1, 1), "width": 2, "stem": (2,), "dense_widths": (3,)},
    "RNN": {"widths": (4, 4)},
    "RecordTransformer": {"vocabulary": 9, "width": 8, "depth": 1, "heads": 2},
    "SeriesTransformer": {"width": 8, "depth": 1, "heads": 2, "clock": "time"},
    "ViT": {"patch": 8, "width": 8, "depth": 1, "heads": 2},
}
"""What the required fields are given."""


def every_spec() -> dict[str, type[Spec]]:
    """Every spec class of the package that is no mere base, by its short name."""
    for module in pkgutil.walk_packages(research.__path__, "research."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = [cls for name, cls in registered_specs().items() if name.startswith("research.")]
    return {cls.__name__: cls for cls in found if not cls.__dict__.get("abstract", False)}


def switched_on(cls: type[Spec]) -> Spec:
    """An instance in which no optional number, and no optional spec below it, is None."""
    spec = cls(**EXAMPLES.get(cls.__name__, {}))
    for item in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
        value, annotation = getattr(spec, item.name), field_annotations(cls)[item.name]
        if isinstance(value, Spec):
            spec = spec.replace(**{item.name: switched_on(type(value))} if type(value).__name__ not in EXAMPLES else {})
        elif value is None and not is_static(annotation):
            first = numbers(item.metadata.get("range", Range()))[0]
            for member in alternatives(annotation):
                if member is float:
                    spec = spec.replace(**{item.name: first})
                elif get_origin(member) is tuple and get_args(member)[0] is float:
                    spec = spec.replace(**{item.name: (first, first)})
                elif isinstance(member, type) and issubclass(member, Spec) and cls.__name__ == "Evaluation":
                    spec = spec.replace(**{item.name: switched_on(member)})
    return spec


def numbers(limits: Range) -> tuple[float, float, float]:
    """Three different numbers in a range."""
    low = limits.above if limits.above is not None else limits.minimum
    high = limits.below if limits.below is not None else limits.maximum
    low = 0.0 if low is None else low
    width = 1.0 if high is None else high - low
    return low + 0.3 * width, low + 0.5 * width, low + 0.7 * width


def numeric_leaves(spec: Spec) -> Iterator[tuple[str, Range]]:
    """Dotted path and range of every number that the annotations of a spec declare to be a leaf, in order."""
    for item in dataclasses.fields(spec):  # pyright: ignore[reportArgumentType]
        value, annotation = getattr(spec, item.name), field_annotations(type(spec))[item.name]
        limits = item.metadata.get("range", Range())
        entries = list(enumerate(value)) if isinstance(value, tuple) else [(None, value)]
        for index, entry in entries:
            path = item.name if index is None else f"{item.name}.{index}"
            if isinstance(entry, Spec):
                for below, its_limits in numeric_leaves(entry):
                    yield f"{path}.{below}", its_limits
            elif isinstance(entry, float) and not is_static(annotation):
                yield path, limits


__all__ = ["CSV", "Net", "OwnModule", "every_spec", "numbers", "numeric_leaves", "switched_on"]
