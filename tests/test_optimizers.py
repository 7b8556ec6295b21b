"""Optimizers: fifty updates equal to plain optax and to torch, one program for all numbers, and the shared fields."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.errors import UserError
from research.optimizers import LAMB, SGD, Adam, AdamW, GradientDescent, Lion, Momentum, Nesterov, Optimizer, RMSProp
from research.schedules import ExponentialDecay, WarmupCosine
from research.spec import check, registered_specs

STEPS = 50
RNG = np.random.default_rng(0)
PARAMS = {
    "kernel": RNG.normal(0, 0.5, (4, 3)).astype(np.float32),
    "bias": RNG.normal(0, 0.5, 3).astype(np.float32),
}
TARGETS = {name: RNG.normal(0, 1, (STEPS, *value.shape)).astype(np.float32) for name, value in PARAMS.items()}


def gradient(params, targets):
    """Of half the squared distance to a target that is another one at each step."""
    return jax.tree.map(lambda p, t: p - t, params, targets)


def train(transformation: optax.GradientTransformation):
    """Parameters after each of the fifty updates, in one compiled loop."""

    def step(carry, targets):
        params, state = carry
        updates, state = transformation.update(gradient(params, targets), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    params = jax.tree.map(jnp.asarray, PARAMS)
    return jax.lax.scan(step, (params, transformation.init(params)), TARGETS)[1]


@jax.jit
def ours(spec: Optimizer, total_steps=STEPS):
    return train(spec.build(total_steps))


def kernels_only(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


def coupled(rule):
    """Plain optax with an L2 penalty on kernels, as the classical optimizers take weight decay."""

    def build(rate, decay):
        return rule(rate) if decay is None else optax.chain(optax.add_decayed_weights(decay, kernels_only), rule(rate))

    return build


def decoupled(rule):
    return lambda rate, decay: rule(rate, weight_decay=decay or 0.0, mask=kernels_only)


REFERENCES = {
    GradientDescent: coupled(optax.sgd),
    SGD: coupled(optax.sgd),
    Momentum: coupled(functools.partial(optax.sgd, momentum=0.9)),
    Nesterov: coupled(functools.partial(optax.sgd, momentum=0.9, nesterov=True)),
    RMSProp: coupled(optax.rmsprop),
    Adam: coupled(optax.adam),
    AdamW: decoupled(optax.adamw),
    LAMB: decoupled(optax.lamb),
    Lion: decoupled(optax.lion),
}


def assert_same_path(left, right, tolerance=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), left, right)


def test_every_optimizer_has_a_reference():
    found = {
        c for c in registered_specs().values() if issubclass(c, Optimizer) and c.__module__ == Optimizer.__module__
    }
    assert found - {Optimizer} == set(REFERENCES)


# Without options, torch below is the reference of the others.
PLAIN = [(kind, "plain") for kind in (RMSProp, Adam, LAMB, Lion)]


@pytest.mark.parametrize(("kind", "options"), [(kind, "all") for kind in REFERENCES] + PLAIN)
def test_updates_equal_plain_optax(kind, options):
    rate, decay, clip, accumulate = 3e-3, None, None, 1
    if options == "all":
        rate, decay, clip, accumulate = WarmupCosine(peak=1e-2, warmup=0.2, floor=1e-4), 0.1, 0.5, 2
    spec = kind(learning_rate=rate, weight_decay=decay, clip_norm=clip, accumulate=accumulate)
    check(spec)
    with jax.numpy_dtype_promotion("standard"):
        if options == "all":
            # Fifty batches, two per update: the schedule runs over 25.
            rate = optax.warmup_cosine_decay_schedule(0.0, 1e-2, 5, 25, 1e-4)
        reference = REFERENCES[kind](rate, decay)
        if options == "all":
            reference = optax.chain(optax.clip_by_global_norm(clip), reference)
            reference = optax.MultiSteps(reference, accumulate).gradient_transformation()
        expected = jax.jit(lambda: train(reference))()
    path = ours(spec)
    assert_same_path(path, expected)
    assert np.abs(np.asarray(path["kernel"][-1]) - PARAMS["kernel"]).max() > 1e-3


@pytest.mark.parametrize(
    ("spec", "name", "arguments"),
    [
        (SGD(learning_rate=0.05, weight_decay=0.1), "SGD", {"lr": 0.05, "weight_decay": 0.1}),
        (Momentum(weight_decay=0.1), "SGD", {"lr": 0.01, "weight_decay": 0.1, "momentum": 0.9}),
        (Nesterov(), "SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
        (Adam(weight_decay=0.1), "Adam", {"lr": 1e-3, "weight_decay": 0.1}),
        (AdamW(), "AdamW", {"lr": 1e-3, "weight_decay": 0.01}),
    ],
)
def test_updates_equal_torch(spec, name, arguments):
    torch = pytest.importorskip("torch")
    params = {key: torch.tensor(value, requires_grad=True) for key, value in PARAMS.items()}
    groups = [{"params": [params["kernel"]]}, {"params": [params["bias"]], "weight_decay": 0.0}]
    optimizer = getattr(torch.optim, name)(groups, **arguments)
    for step in range(STEPS):
        for key, value in params.items():
            value.grad = value.detach() - torch.tensor(TARGETS[key][step])
        optimizer.step()
    last = jax.tree.map(lambda p: p[-1], ours(spec))
    assert_same_path(last, {key: value.detach().numpy() for key, value in params.items()}, 1e-5)


@pytest.mark.parametrize("kind", REFERENCES)
def test_one_program_serves_every_number(kind):
    traces = []

    @jax.jit
    def compiled(spec, total_steps):
        traces.append(spec)
        return train(spec.build(total_steps))["kernel"][-1]

    spec = kind(learning_rate=ExponentialDecay(initial=0.1, final=0.01), weight_decay=0.2, clip_norm=0.5, average=0.9)
    first = compiled(spec, 10)
    leaves, structure = jax.tree.flatten_with_path(spec)
    for index, (path, _) in enumerate(leaves):
        values = [value * 0.8 if i == index else value for i, (_, value) in enumerate(leaves)]
        changed = compiled(structure.unflatten(values), 10)
        # Averaging is the algorithm's; epsilon is too small to see, and so is the norm where a rule divides by it.
        if not any(name in str(path) for name in ("average", "eps", "clip_norm")):
            assert (changed != first).any(), f"{kind.__name__}{path} changes nothing"
    assert (compiled(spec, 20) != first).any()
    assert len(traces) == 1


def test_clipping_limits_the_whole_gradient():
    @jax.jit
    def update(gradients):
        transformation = SGD(learning_rate=1.0, clip_norm=0.5).build(1)
        return transformation.update(gradients, transformation.init(gradients), gradients)[0]

    gradients = {"a": np.array([[3.0, 0.0]], np.float32), "b": np.array([4.0], np.float32)}
    updates = update(gradients)
    np.testing.assert_allclose(updates["a"], [[-0.3, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(updates["b"], [-0.4], rtol=1e-6)
    small = jax.tree.map(lambda g: g / 100, gradients)
    jax.tree.map(lambda u, g: np.testing.assert_allclose(u, -g, rtol=1e-6), update(small), small)


@pytest.mark.parametrize("kind", REFERENCES)
def test_weight_decay_skips_biases(kind):
    @jax.jit
    def still(spec, params):
        transformation = spec.build(1)
        zeros = jax.tree.map(jnp.zeros_like, params)
        return transformation.update(zeros, transformation.init(params), params)[0]

    updates = still(kind(weight_decay=0.1), PARAMS)
    assert (updates["bias"] == 0).all()
    moved = np.asarray(updates["kernel"])
    assert (np.sign(moved) == -np.sign(PARAMS["kernel"])).all()


@pytest.mark.parametrize("rule", [Adam, LAMB, Momentum, RMSProp, Lion])
def test_state_of_bfloat16_parameters_is_small_and_does_not_stand_still(rule: type[Optimizer]) -> None:
    """A gradient that never changes: whatever is a mean of it must come to it, and so must Adam's mean square."""
    params = {"kernel": jnp.full((2, 2), 2.0, jnp.bfloat16)}
    optimizer = rule(learning_rate=1.0, weight_decay=None, clip_norm=100.0).build(1)
    gradients = jax.tree.map(lambda p: jnp.full_like(p, 0.5), params)

    def step(state, _):
        updates, state = optimizer.update(gradients, state, params)
        return state, updates["kernel"][0, 0]

    state, updates = jax.lax.scan(step, optimizer.init(params), length=6000)
    assert updates.dtype == jnp.bfloat16
    sizes = [leaf.dtype for leaf in jax.tree.leaves(state) if leaf.ndim]
    assert set(sizes) == ({jnp.dtype("bfloat16"), jnp.dtype("float32")} if rule in (Adam, LAMB) else {updates.dtype})
    expected = {Adam: 1.0, LAMB: 2.0, Momentum: 5.0, RMSProp: 1.0, Lion: 1.0}[rule]
    assert float(updates[-1]) == pytest.approx(-expected, rel=0.05)


def test_accumulated_batches_are_one_larger_batch():
    """Ten batches, five per update, make the updates of the two means; in between nothing moves."""
    rate = ExponentialDecay(initial=0.1, final=0.001)

    @functools.partial(jax.jit, static_argnums=2)
    def run(spec, targets, calls):
        def step(carry, target):
            params, state = carry
            updates, state = transformation.update(gradient(params, target), state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        transformation = spec.build(calls)
        return jax.lax.scan(step, (PARAMS, transformation.init(jax.tree.map(jnp.asarray, PARAMS))), targets)[1]

    small = jax.tree.map(lambda t: t[:10], TARGETS)
    large = jax.tree.map(lambda t: t[:10].reshape(2, 5, *t.shape[1:]).mean(1), TARGETS)
    whole = run(Adam(learning_rate=rate), large, 2)
    parts = run(Adam(learning_rate=rate, accumulate=5), small, 10)
    assert_same_path(jax.tree.map(lambda p: p[4::5], parts), whole)
    kernels = np.concatenate([PARAMS["kernel"][None], parts["kernel"]])
    moved = (np.diff(kernels, axis=0) != 0).any((1, 2))
    np.testing.assert_array_equal(moved, [False] * 4 + [True] + [False] * 4 + [True])


def test_a_stack_of_optimizers_runs_as_one():
    rates = (1e-3, 1e-2, 1e-1)
    members = [AdamW(learning_rate=rate) for rate in rates]
    stack = jax.tree.map(lambda *values: np.array(values, np.float32), *members)
    together = jax.jit(jax.vmap(lambda spec: train(spec.build(STEPS))))(stack)
    for index, member in enumerate(members):
        assert_same_path(jax.tree.map(lambda p, i=index: p[i], together), ours(member), 2e-5)


def test_only_gradient_descent_takes_the_full_batch():
    assert [kind for kind in REFERENCES if kind.full_batch] == [GradientDescent]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Adam(learning_rate=-1.0), "learning_rate: a number of at least 0"),
        (Adam(b1=1.0), r"b1: a number in \[0, 1\)"),
        (Adam(clip_norm=0.0), "clip_norm"),
        (Adam(weight_decay=-0.1), "weight_decay"),
        (Adam(accumulate=0), "accumulate"),
        (Adam(average=1.0), "average"),
        (Adam(learning_rate=WarmupCosine(peak=-1.0)), r"learning_rate\.peak"),
        (Adam(learning_rate="fast"), "learning_rate"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_mistakes_are_named(spec, words):
    with pytest.raises(UserError, match=words):
        check(spec)
