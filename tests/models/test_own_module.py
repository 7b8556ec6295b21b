"""A user's own module: used as it is, and refused in words where it does not fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from research.errors import UserError
from research.models import Forward, OwnModule
from research.spec import check, from_json, to_json

EXAMPLE = jax.ShapeDtypeStruct((6,), jnp.float32)
X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32))


class Net(nnx.Module):
    def __init__(self, in_features, outputs, *, hidden=3, rngs):
        self.first = nnx.Linear(in_features, hidden, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(hidden, outputs, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(self.first(x)))


class Two(nnx.Module):
    def __init__(self, in_features, outputs, *, rngs):
        self.sizes = tuple(sorted(in_features.items()))
        self.vitals = nnx.Linear(in_features["vitals"], outputs, rngs=rngs)

    def __call__(self, inputs):
        return self.vitals(inputs["vitals"])


class NoRngs(nnx.Module):
    def __init__(self, in_features, outputs):
        self.size = in_features, outputs

    def __call__(self, x):
        return x


class NoCall(nnx.Module):
    def __init__(self, in_features, outputs, *, rngs):
        self.size = in_features, outputs


class NeedsMore(NoCall):
    def __call__(self, x, train):
        return x


class WrongShape(NoCall):
    def __call__(self, x):
        return x[:, 0]


class NotAModule:
    def __init__(self, in_features, outputs, *, rngs):
        pass


def test_equals_the_module_itself():
    spec = OwnModule(module=Net, arguments=(("hidden", 4),))
    check(spec)

    @jax.jit
    def outputs(x):
        ours = spec.build(EXAMPLE, 2, nnx.Rngs(params=0, default=1))
        theirs = Net(6, 2, hidden=4, rngs=nnx.Rngs(params=0, default=1))
        train = ours(x, Forward(train=True)), theirs(x)
        theirs.eval()
        return train, (ours(x, Forward(train=False)), theirs(x))

    train, evaluation = outputs(X)
    np.testing.assert_array_equal(*train)
    np.testing.assert_array_equal(*evaluation)
    assert (np.asarray(train[0]) != np.asarray(evaluation[0])).any()


def test_inputs_of_several_arrays():
    shapes = {"vitals": EXAMPLE, "notes": jax.ShapeDtypeStruct((5, 3), jnp.float32)}
    module = OwnModule(module=Two).build(shapes, 2, nnx.Rngs(0))
    assert module.net.sizes == (("notes", 3), ("vitals", 6))
    assert module({"vitals": X, "notes": jnp.zeros((8, 5, 3))}, Forward()).shape == (8, 2)


def test_is_a_value():
    spec = OwnModule(module=Net, arguments=(("hidden", 4),))
    assert from_json(to_json(spec)) == spec != OwnModule(module=Net)
    assert jax.tree.leaves(spec) == []


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (OwnModule(module=NotAModule), "NotAModule is not a flax.nnx.Module"),  # pyright: ignore[reportArgumentType]
        (OwnModule(module=Net, arguments=(("hiden", 4),)), r"hidden=3, rngs\).*hiden"),
        (OwnModule(module=NoRngs), r"NoRngs\(in_features, outputs\).*rngs"),
        (OwnModule(module=Net, arguments=(("hidden", 4), ("hidden", 5))), "hidden given more than once"),
        (OwnModule(module=Net, arguments=(("rngs", 4),)), "rngs"),
    ],
)
def test_a_class_that_does_not_fit_is_refused(spec, words):
    with pytest.raises(UserError, match=words):
        check(spec)


def test_a_module_that_does_not_answer_is_refused():
    with pytest.raises(UserError, match="NoCall has no __call__"):
        OwnModule(module=NoCall).build(EXAMPLE, 2, nnx.Rngs(0))
    with pytest.raises(UserError, match=r"called as net\(x\).*train"):
        OwnModule(module=NeedsMore).build(EXAMPLE, 2, nnx.Rngs(0))
    module = OwnModule(module=WrongShape).build(EXAMPLE, 2, nnx.Rngs(0))
    with pytest.raises(UserError, match=r"shape \(8,\).*\(8, 2\)"):
        module(X, Forward())
