"""Specs as text: fingerprints stable across processes, and JSON that restores an equal value."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from every_spec import every_spec, switched_on

from research.errors import UserError
from research.optimizers import SGD, Adam
from research.schedules import WarmupCosine
from research.spec import Spec, field, fingerprint, from_json, to_json
from research.spec.text import canonical


class Anything(Spec):
    """A static field of any type."""

    value: object = None


class Numbers(Spec):
    """A number."""

    value: float = 0.0


class Before(Spec):
    """As it was first."""

    value: float = 0.0


class Grown(Spec):
    """The same with fields that came later."""

    value: float = 0.0
    other: str = field("none", later=True)
    parts: tuple[float, ...] = field((), later=True)


IN_ANOTHER_PROCESS = """
from research.optimizers import Adam
from research.schedules import WarmupCosine
from research.spec import fingerprint
print(fingerprint(Adam(b1=0.8, learning_rate=WarmupCosine(floor=1e-5, peak=1/3), clip_norm=1)))
"""


def test_fingerprint_is_stable_across_processes() -> None:
    variables = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spec = Adam(learning_rate=WarmupCosine(peak=1 / 3, floor=1e-5), clip_norm=1.0, b1=0.8)
    assert done.stdout.strip() == fingerprint(spec)


def test_fingerprint_has_its_golden_value() -> None:
    # The same on every machine: this is how a run directory is found again.
    assert canonical(Numbers(value=0.1)) == '{"spec":"test_text:Numbers","value":0.1}'
    assert fingerprint(Numbers(value=0.1)) == "1ae641fbff89"
    assert len(fingerprint(Numbers(), 64)) == 64


def test_a_field_that_came_later_is_part_of_the_identity_only_where_it_is_used() -> None:
    assert canonical(Grown()) == canonical(Before()).replace("Before", "Grown")
    assert canonical(Anything(value=(Grown(),))) == canonical(Anything(value=(Before(),))).replace("Before", "Grown")
    different = Grown(), Grown(other="all"), Grown(parts=(1.0,)), Grown(value=1.0)
    assert len({fingerprint(spec) for spec in different}) == 4
    assert to_json(Grown())["other"] == "none" and all(from_json(to_json(spec)) == spec for spec in different)


def test_equal_specs_and_no_others_share_a_fingerprint() -> None:
    different = [Anything(value=value) for value in (1, 1.0, True, "1", None, "None", (1,), ((1,),), (1, 1), "true")]
    assert len({fingerprint(spec) for spec in different}) == len(different) == len(set(different))
    assert fingerprint(SGD(learning_rate=1)) == fingerprint(SGD(learning_rate=np.float64(1.0)))
    assert fingerprint(Numbers(value=-0.0)) == fingerprint(Numbers(value=0.0)) and Numbers(value=-0.0) == Numbers()
    assert fingerprint(Numbers(value=0.1 + 0.2)) != fingerprint(Numbers(value=0.3))
    assert fingerprint(SGD(learning_rate=0.5)) != fingerprint(Adam(learning_rate=0.5))


@pytest.mark.parametrize("name", every_spec())
def test_json_restores_an_equal_value_of_every_registered_spec(name: str) -> None:
    spec = switched_on(every_spec()[name])
    restored = from_json(json.loads(json.dumps(to_json(spec))))
    assert restored == spec and hash(restored) == hash(spec)
    assert type(restored) is type(spec)
    assert jax.tree.structure(restored) == jax.tree.structure(spec)
    assert fingerprint(restored) == fingerprint(spec)


def test_json_loses_no_digit() -> None:
    for value in (1 / 3, 1e-300, 0.1 + 0.2, 123456789.123456789, 5e-324):
        assert from_json(json.loads(json.dumps(to_json(Numbers(value=value))))).value == value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"spec": "research.optimizers:Adamm"}, "research.optimizers:Adamm is not known here"),
        ({"spec": "research.nowhere:Adam"}, "research.nowhere:Adam is not known here"),
        ({"spec": "research.optimizers:SGD", "learning_rat": 1.0}, "'learning_rat'.*other code.*'learning_rate'"),
        ({"spec": "os:path"}, "os:path is no spec"),
        ({"learning_rate": 1.0}, "'spec' is missing"),
    ],
)
def test_foreign_json_is_refused_in_words(data: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_json(data)


def test_what_json_cannot_carry_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"value: \{1, 2\} cannot be written to JSON"):
        to_json(Anything(value={1, 2}))
    with pytest.raises(UserError, match="value: nan"):
        fingerprint(Numbers(value=float("nan")))
