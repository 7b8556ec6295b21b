"""Specs are values and pytrees: which fields are leaves, what the constructor coerces, equality and repr."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_spec import every_spec, numeric_leaves, switched_on

from research.errors import UserError
from research.spec import Spec, Static, field, registered_specs


class Part(Spec):
    """One number, one structure."""

    strength: float = 0.5
    layers: int = 2


class Whole(Spec):
    """Every kind of field."""

    rate: float = 0.1
    off: float | None = None
    fraction: Static[float] = 0.25
    name: str = "a"
    flag: bool = False
    mode: Literal["x", "y"] = "x"
    widths: tuple[int, ...] = (8, 4)
    weights: tuple[float, ...] | None = None
    pair: tuple[float, float] = (1.0, 2.0)
    part: Part = Part()
    parts: tuple[Part, ...] = ()
    choice: float | Part = 0.0
    untyped: Any = None


def paths(spec: Spec) -> list[str]:
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(spec)]


def test_leaves_are_exactly_the_numbers() -> None:
    assert paths(Whole()) == [".rate", ".pair[0]", ".pair[1]", ".part.strength", ".choice"]
    full = Whole(off=0.2, weights=(1, 2), parts=(Part(), Part(strength=3)), choice=Part(strength=7))
    assert jax.tree.leaves(full) == [0.1, 0.2, 1.0, 2.0, 1.0, 2.0, 0.5, 0.5, 3.0, 7.0]
    held = [path[0].name for path, _ in jax.tree_util.tree_leaves_with_path(full)]
    assert list(dict.fromkeys(held)) == ["rate", "off", "weights", "pair", "part", "parts", "choice"]


@pytest.mark.parametrize("name", every_spec())
def test_leaves_of_every_registered_spec_are_its_numeric_hyperparameters(name: str) -> None:
    spec = switched_on(every_spec()[name])
    leaves = jax.tree.leaves(spec)
    assert all(type(leaf) is float for leaf in leaves)
    assert len(leaves) == len(list(numeric_leaves(spec)))
    leaves, structure = jax.tree.flatten(spec)
    assert structure.unflatten(leaves) == spec


@pytest.mark.parametrize("given", [3, np.int32(3), np.float64(3), np.float32(3), np.array(3.0)])
def test_numbers_become_python_floats(given: Any) -> None:
    for spec in (Whole(rate=given), Whole().replace(rate=given)):
        assert type(spec.rate) is float and spec.rate == 3.0
    assert type(Whole(fraction=given).fraction) is float
    assert type(Whole(off=given).off) is float
    assert type(Whole(choice=given).choice) is float


def test_structure_is_coerced_where_nothing_is_lost() -> None:
    spec = Whole(widths=[np.int64(3), 4], weights=np.array([1, 2]), pair=[1, 2], flag=np.bool_(True), name=np.str_("b"))
    assert spec.widths == (3, 4) and [type(width) for width in spec.widths] == [int, int]
    assert spec.weights == (1.0, 2.0) and [type(weight) for weight in spec.weights] == [float, float]
    assert [type(number) for number in spec.pair] == [float, float]
    assert spec.flag is True and type(spec.name) is str
    # What would lose something stays, for `check` to name.
    assert Whole(rate=True).rate is True and Whole(widths=(2.5,)).widths == (2.5,)


def test_static_float_is_structure() -> None:
    first, second = (jax.tree.structure(Whole(fraction=fraction)) for fraction in (0.25, 0.5))
    assert first != second
    assert first == jax.tree.structure(Whole(rate=9, pair=(3, 4), choice=2))


def test_none_is_structure_and_a_number_is_not() -> None:
    assert jax.tree.structure(Whole(off=None)) != jax.tree.structure(Whole(off=0.1))
    assert jax.tree.structure(Whole(off=0.2)) == jax.tree.structure(Whole(off=0.1))


def test_equal_means_interchangeable() -> None:
    assert Whole(rate=1) == Whole(rate=1.0) and hash(Whole(rate=1)) == hash(Whole(rate=1.0))
    assert Whole(untyped=1) != Whole(untyped=True) != Whole(untyped=1.0) != Whole(untyped=1)
    assert Part() != Whole()
    structures = [jax.tree.structure(Whole(untyped=value)) for value in (1, True, 1.0)]
    assert len(set(structures)) == 3
    assert len({Whole(), Whole(), Whole(rate=2)}) == 2


def test_int_and_float_share_one_trace() -> None:
    traces = 0

    @jax.jit
    def double(spec: Whole) -> Any:
        nonlocal traces
        traces += 1
        return spec.rate * jnp.float32(2)

    given = (1, 1.0, np.float64(1.5), np.int64(3), 4)
    assert [float(double(Whole(rate=value))) for value in given] == [2, 2, 3, 6, 8]
    assert traces == 1


def test_numbers_do_not_promote() -> None:
    assert (
        jax.jit(lambda spec, x: spec.rate * x)(Whole(rate=np.float64(2)), jnp.ones(2, jnp.bfloat16)).dtype == "bfloat16"
    )


def test_specs_may_hold_tracers_arrays_and_shapes() -> None:
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), Whole(rate=1), Whole(rate=2))
    assert jax.vmap(lambda spec: spec.rate + spec.pair[1])(stacked).tolist() == [3.0, 4.0]
    assert jax.grad(lambda spec: spec.rate**2 * spec.part.strength)(Whole(rate=3)).rate == 3.0
    assert jax.eval_shape(lambda spec: spec, Whole()).rate.shape == ()


def test_specs_are_frozen_and_keyword_only() -> None:
    with pytest.raises(AttributeError):
        Whole().rate = 3  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        Whole(0.3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(UserError, match=r"Whole has no field 'nmae'. Did you mean 'name'\? Valid fields: rate, off"):
        Whole(nmae="b")  # pyright: ignore[reportCallIssue]
    with pytest.raises(UserError, match="Part has no field 'layer'"):
        Part().replace(layer=3)


def test_repr_shows_what_differs_from_the_defaults_and_builds_an_equal_value() -> None:
    spec = Whole(rate=0.2, part=Part(layers=3), parts=(Part(),), weights=(1, 2))
    assert repr(spec) == "Whole(rate=0.2, weights=(1.0, 2.0), part=Part(layers=3), parts=(Part(),))"
    assert eval(repr(spec)) == spec
    assert repr(Whole()) == "Whole()"
    shown = []
    jax.make_jaxpr(lambda spec: shown.append(repr(spec)))(Whole())
    assert "Tracer" in shown[0]


@pytest.mark.parametrize("annotation", ["float | str", "float | int", "Part | str", "tuple[float, ...] | int"])
def test_a_field_that_mixes_numbers_and_structure_is_refused(annotation: str) -> None:
    kinds = {"float | str": float | str, "float | int": float | int, "Part | str": Part | str}
    before = set(registered_specs())
    with pytest.raises(TypeError, match="either numbers and specs, or static"):
        type("Mixed", (Spec,), {"__annotations__": {"x": kinds.get(annotation, tuple[float, ...] | int)}, "x": 0.0})
    assert set(registered_specs()) == before


def test_inherited_fields_and_new_defaults() -> None:
    class Child(Part):
        strength: float = field(2.0, minimum=0)
        extra: float = 1.0
        shared: ClassVar[int] = 3

    assert jax.tree.leaves(Child()) == [2.0, 1.0]
    assert Child().layers == 2
