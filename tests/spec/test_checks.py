"""`check`: every field below a spec has its type and lies in its range, and the message names it by its path."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest
from every_spec import every_spec, switched_on

from research.errors import UserError
from research.experiment import Experiment
from research.losses import CrossEntropy, Loss
from research.models import MLP
from research.optimizers import Adam, Optimizer
from research.schedules import Schedule, WarmupCosine
from research.spec import Spec, check, field


class Layer(Spec):
    """A layer."""

    width: int = field(4, minimum=1)
    rate: float = field(0.1, above=0, maximum=1)


class Stack(Spec):
    """Every kind of annotation."""

    first: Layer = Layer()
    rest: tuple[Layer, ...] = ()
    pair: tuple[float, str] | None = None
    mode: Literal["fast", "exact", 3] = "fast"
    flag: bool = False
    kind: type = int
    function: Any = None

    def validate(self) -> None:
        if self.flag and self.mode == "exact":
            raise UserError("flag: not together with mode 'exact'.")


class Tower(Spec):
    """Holds a stack."""

    stack: Stack = Stack()


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        (Stack(first=Layer(width=0)), r"^stack\.first\.width: a number of at least 1 is needed, 0 was given\.$"),
        (Stack(first=Layer(width=2.0)), r"^stack\.first\.width: a whole number is needed, 2\.0 \(float\) was given\.$"),
        (Stack(first=Layer(width=True)), r"stack\.first\.width: a whole number is needed, True \(bool\) was given"),
        (Stack(first=Layer(rate=True)), r"stack\.first\.rate: a number is needed, True"),
        (Stack(first=Layer(rate=0)), r"stack\.first\.rate: a number in \(0, 1\] is needed, 0\.0 was given"),
        (Stack(first=Layer(rate=float("nan"))), r"stack\.first\.rate: .* nan was given"),
        (Stack(first=Layer(rate="0.1")), r"stack\.first\.rate: a number is needed, '0.1' was given"),
        (Stack(first=None), r"stack\.first: Layer is needed, None"),
        (Stack(rest=(Layer(), Layer(rate=2))), r"stack\.rest\.1\.rate: a number in \(0, 1\] is needed, 2\.0"),
        (Stack(rest=Layer()), r"stack\.rest: a tuple of Layers is needed, Layer was given"),
        (Stack(rest=(3,)), r"stack\.rest\.0: Layer is needed, 3"),
        (Stack(pair=(1,)), r"stack\.pair: a tuple of 2 values or none is needed, \(1,\)"),
        (Stack(mode="fats"), r"stack\.mode: one of 'fast', 'exact', 3 is needed, 'fats' .*Did you mean 'fast'\?"),
        (Stack(mode=3.0), r"stack\.mode: one of .* is needed, 3\.0"),
        (Stack(flag=1), r"stack\.flag: true or false is needed, 1 \(int\)"),
        (Stack(kind=3), r"stack\.kind"),
        (Stack(flag=True, mode="exact"), r"^stack: flag: not together with mode 'exact'\.$"),
    ],
)
def test_messages_name_the_path_the_value_and_what_is_allowed(stack: Stack, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(Tower(stack=stack))


@pytest.mark.parametrize(
    "spec", [Stack(), Stack(mode=3), Stack(rest=[Layer(rate=1)], function=len, kind=Layer, flag=True)]
)
def test_what_is_allowed_passes(spec: Stack) -> None:
    check(Tower(stack=spec))


@pytest.mark.parametrize("name", every_spec())
def test_defaults_and_switched_on_options_of_every_registered_spec_are_valid(name: str) -> None:
    spec = switched_on(every_spec()[name])
    if name == "Focal":
        spec = spec.replace(class_weight=None)
    if name == "Selection":
        spec = spec.replace(patience=2)
    check(spec)


def test_ranges_are_spelled() -> None:
    for spec, words in [
        (Adam(learning_rate=-1), "learning_rate: a number of at least 0 is needed, -1.0"),
        (Adam(clip_norm=0), "clip_norm: a number above 0 is needed, 0.0"),
        (MLP(dropout=1), r"dropout: a number in \[0, 1\) is needed, 1.0"),
        (CrossEntropy(class_weight=(1, -1)), "class_weight.1: a number of at least 0 is needed, -1.0"),
        (Adam(learning_rate=WarmupCosine(floor=2)), "learning_rate: floor: a number of at most the peak"),
        (Adam(learning_rate=float("inf")), "learning_rate: a number of at least 0 is needed, inf"),
    ]:
        with pytest.raises(UserError, match=words):
            check(spec)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            Experiment(optimizer=Optimizer(), steps=1),
            r"^optimizer: Optimizer\(\) only stands for its kind.*Adam, AdamW",
        ),
        (Adam(learning_rate=Schedule()), r"^learning_rate: Schedule\(\) only .*: .*WarmupCosine"),
        (Loss(), r"^Loss: Loss\(\) only .*: .*CrossEntropy"),
    ],
)
def test_a_class_that_only_stands_for_its_kind_is_refused(spec: Spec, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check(spec)


class Shape(Spec):
    """A base of which one kind is known."""

    abstract: ClassVar[bool] = True


class Circle(Shape):
    """Does not inherit that its base only stands for its kind."""


def test_a_kind_of_an_abstract_base_is_allowed() -> None:
    check(Circle())
    with pytest.raises(UserError, match=r"Use one of its kinds: Circle\.$"):
        check(Shape())
