"""Text of a command line as values: paths and names as they stand, quotes, nested tuples, shorthands."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from research.data import CSV, TableData
from research.errors import UserError
from research.experiment import Evaluation, Experiment, Selection, StartFrom
from research.models.own_module import OwnModule
from research.optimizers import AdamW
from research.schedules import WarmupCosine
from research.spec import Spec, apply_overrides, check, field, parse_override


class Source(Spec):
    """A spec that plain text stands for."""

    shorthand: ClassVar[str] = "place"

    place: str = field(help="where")
    parts: tuple[tuple[str, str], ...] = ()
    age: int | None = None


class Sources(Spec):
    """Holds the one above."""

    source: Source | None = None


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (StartFrom, "StartFrom(run=runs/a/b-s0)", StartFrom(run="runs/a/b-s0")),
        (StartFrom, "startfrom( run = my runs/a-b , weights = Last )", StartFrom(run="my runs/a-b", weights="last")),
        (StartFrom, "StartFrom(run='a,b(c', frozen=('hidden',))", StartFrom(run="a,b(c", frozen=("hidden",))),
        (
            StartFrom,
            "StartFrom(run=a, map=(('x','y'),(layers/0, layers/1)), frozen=[x, 'y z'])",
            StartFrom(run="a", map=(("x", "y"), ("layers/0", "layers/1")), frozen=("x", "y z")),
        ),
        (tuple[tuple[str, str], ...], "(('hidden','hidden'),)", (("hidden", "hidden"),)),
        (tuple[tuple[str, str], ...], "('a','b'),('c','d')", (("a", "b"), ("c", "d"))),
        (tuple[str, ...], "('hidden',)", ("hidden",)),
        (tuple[str, ...], "'hidden'", ("hidden",)),
        (tuple[str, ...], "cp, thal", ("cp", "thal")),
        (tuple[str, ...], "('a, b', \"it's\", o'clock, x [mg/dL])", ("a, b", "it's", "o'clock", "x [mg/dL]")),
        (tuple[str, ...], "?,'',-9", ("?", "", "-9")),
        (tuple[str, float], "(a, 1e-3)", ("a", 1e-3)),
        (CSV, "CSV(path=a/b.csv,target=x)", CSV(path="a/b.csv", target="x")),
        (
            CSV,
            "CSV(path=$D/b 1.csv, target='3', positive=>=1, categorical=('cp','thal'), drop=glucose [mg/dL])",
            CSV(path="$D/b 1.csv", target="3", positive=">=1", categorical=("cp", "thal"), drop=("glucose [mg/dL]",)),
        ),
        (CSV, "CSV(path=a, target=3)", CSV(path="a", target=3)),
        (CSV, "CSV(path=a, target=(a, b), name='none')", CSV(path="a", target=("a", "b"), name="none")),
        (
            AdamW,
            "AdamW(learning_rate=WarmupCosine(peak=1e-2, floor=0), b1=.5)",
            AdamW(learning_rate=WarmupCosine(peak=1e-2, floor=0), b1=0.5),
        ),
        (str, "a, (b", "a, (b"),
        (str, "it's", "it's"),
        (str, '"it\'s"', "it's"),
        (str | None, "none", None),
        (str | None, "'none'", "none"),
        (str | int | tuple[str, ...], "x (old", "x (old"),
        (tuple[tuple[str, Any], ...], "((a, 3), (b, true))", (("a", 3), ("b", True))),
        (tuple[tuple[str, Any], ...], "((c, '3'), (d, none))", (("c", "3"), ("d", None))),
    ],
)
def test_text_is_kept_as_it_stands(annotation: Any, text: str, value: Any) -> None:
    found = parse_override(annotation, text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("runs/a/b-s0", Source(place="runs/a/b-s0")),
        ("'runs/a, b'", Source(place="runs/a, b")),
        ("elsewhere", Source(place="elsewhere")),
        ("12", Source(place="12")),
        ("Source-1/b", Source(place="Source-1/b")),
        ("a(b)/c", Source(place="a(b)/c")),
        ("Source(place=x)", Source(place="x")),
        ("none", None),
    ],
)
def test_plain_text_sets_the_field_that_a_class_names_as_its_shorthand(text: str, value: Any) -> None:
    assert apply_overrides(Sources(), [f"source={text}"]).source == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("source=Sorce", r"'Sorce' is not known here\. Did you mean 'Source'\?"),
        ("source=Sorce(place=x)", r"'Sorce' is not known here\. Did you mean"),
        ("source=Elsewhere(place=x)", r"'Elsewhere' is not known here\. Known: none, Source\."),
        ("source=", r"'' is not known here"),
        ("source=Source(place=x", r"'Source\(place=x' is not readable; write Source\(field=value, \.\.\.\), tuples in"),
        ("source=Source(place=x, place=y)", "is not readable"),
        ("source=Source(place='x)", "is not readable"),
        ("source=Source(place=x, parts=a, b)", "is not readable.* tuples in brackets"),
        ("source=Source(age=3)", r"source: Source needs place: write Source\(place=\.\.\.\)"),
        ("source=Source(plce=x)", r"Source has no field 'plce'\. Did you mean 'place'"),
        ("source=Source(place=x, parts=((a, b)", "is not readable"),
        ("source=Source(place=x, parts=(a, b))", r"source\.parts\.0: a tuple of 2 values is needed, \('a',\)"),
    ],
)
def test_messages(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(apply_overrides(Sources(), [override]))


def test_a_bracket_that_is_left_open_in_a_tuple_is_named() -> None:
    with pytest.raises(UserError, match=r"^drop: in '\(a, b' a bracket or a quotation mark is left open"):
        apply_overrides(CSV(path="a"), ["drop=(a, b"])


def test_a_tuple_or_a_spec() -> None:
    assert parse_override(tuple[Source, ...] | Source, "a/b") == Source(place="a/b")
    assert parse_override(tuple[Source, ...] | Source, "(a/b, Source(place=c))") == (
        Source(place="a/b"),
        Source(place="c"),
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "evaluation.select.patience=5",
            r"evaluation\.select is none, .*evaluation\.select=Selection\(patience=5\)\.$",
        ),
        ("start_from.run=a/b", r"Set start_from itself, such as start_from=StartFrom\(run=a/b\)\.$"),
        ("start_from.frozen=a,b", r"start_from=StartFrom\(run=\.\.\., frozen=\(a,b\)\)\.$"),
        ("start_from.rn=a", r"start_from is none, which has no fields\. Set start_from itself\.$"),
        ("data.source.path=a", r"data is none.* such as data=EventData\(source=\.\.\.\)\.$"),
        ("loss.class_weight=1,2", r"such as loss=\w+\(.*class_weight=\(1,2\)\)\.$"),
    ],
)
def test_the_owner_that_is_none_must_be_set_first(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        apply_overrides(Experiment(steps=1), [override])


def test_what_the_message_advises_works() -> None:
    advised = ["evaluation.select=Selection(patience=5)", "start_from=StartFrom(run=..., frozen=(a,b))"]
    changed = apply_overrides(Experiment(steps=1), advised)
    assert changed.evaluation == Evaluation(select=Selection(patience=5))
    assert changed.start_from == StartFrom(run="...", frozen=("a", "b"))
    again = apply_overrides(changed, ["evaluation.select.patience=7", "start_from.map=(('hidden','hidden'),)"])
    assert again.evaluation.select == Selection(patience=7)
    assert again.start_from == StartFrom(run="...", frozen=("a", "b"), map=(("hidden", "hidden"),))
    data = apply_overrides(Experiment(steps=1), ["data=TableData(source=CSV(path=a/b.csv,target=x))"]).data
    assert data == TableData(source=CSV(path="a/b.csv", target="x"))


def test_arguments_of_an_own_module_keep_their_types() -> None:
    model = OwnModule(module=dict, arguments=(("width", 8),))
    assert apply_overrides(model, ["arguments=((width, 16),)"]).arguments == (("width", 16),)
