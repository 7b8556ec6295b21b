"""Recurrent layers over padded series: simple, LSTM, GRU and GRU-D."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32

from research.models.layers import cudnn, initializers
from research.models.layers.recurrent_gru import gru_over_time
from research.models.layers.recurrent_lstm import lstm_over_time
from research.models.model import Forward

CellName = Literal["simple", "lstm", "gru"]
GATES = {"simple": 1, "lstm": 4, "gru": 3}


class Recurrent(nnx.Module):
    """One recurrent layer in one direction.

    The cells, with ``x`` the input and ``h`` the hidden state, as in torch (whose two biases are one here where they
    are only ever added):

    - ``simple`` (Elman, Cognitive Science 1990): ``h' = tanh(W x + U h + b)``.
    - ``lstm`` (Hochreiter and Schmidhuber, Neural Computation 1997, with forget gates: Gers et al. 2000):
      ``i, f, o = sigmoid(W x + U h + b)``, ``g = tanh(W x + U h + b)``, ``c' = f c + i g``, ``h' = o tanh(c')``; the
      gates lie in the kernels in the order i, f, g, o; the biases of f start at 1.
    - ``gru`` (Cho et al., EMNLP 2014): ``r, z = sigmoid(W x + U h + b)``, ``n = tanh(W x + b + r (U h + b'))``,
      ``h' = (1 - z) n + z h``; in the order r, z, n.

    Gates and states are float32 whatever the input: a gate near 1 would round to 1, and a state that moves slowly would
    stand still. Products with kernels are computed in the precision of the input, and so are the hidden states given.

    On steps that do not count the state stays as it is. So the last state is that of the true end of a series, and
    where ``backwards``, the first state that moves is that of its true end.
    """

    def __init__(
        self, in_features: int, width: int, *, cell: CellName = "lstm", backwards: bool = False, rngs: nnx.Rngs
    ) -> None:
        """Draw the kernels: Glorot's for the input, orthogonal for each gate's recurrent one.

        Args:
            in_features: length of the last axis of the input.
            width: units of the hidden state.
            cell: which recurrence.
            backwards: from the end of each series to its beginning.
            rngs: keys of the initialisers.
        """
        self.cell, self.width, self.backwards = cell, width, backwards
        gates = GATES[cell]
        orthogonal = initializers.by_name("orthogonal")
        self.input_kernel = nnx.Param(_drawn("glorot_uniform", rngs, in_features, gates * width))
        self.kernel = nnx.Param(
            jnp.concatenate([orthogonal(rngs.params(), (width, width), jnp.float32) for _ in range(gates)], axis=1)
        )
        bias = jnp.zeros(gates * width, jnp.float32)
        self.bias = nnx.Param(bias.at[width : 2 * width].set(1.0) if cell == "lstm" else bias)
        self.candidate_bias = nnx.Param(jnp.zeros(width, jnp.float32)) if cell == "gru" else None

    def initial(self, rows: int) -> tuple[Array, ...]:
        """The state before a series: hidden state, and for an LSTM the cell's, ``[B, width]`` of zeros."""
        zeros = jnp.zeros((rows, self.width), jnp.float32)
        return (zeros, zeros) if self.cell == "lstm" else (zeros,)

    def project(self, x: Float[Array, "B ... C"]) -> Float[Array, "B ... G"]:
        """What the input adds to the gates; for whole series in one matrix product."""
        y = jax.lax.dot_general(x, self.input_kernel[...].astype(x.dtype), (((x.ndim - 1,), (0,)), ((), ())))
        return y + jnp.broadcast_to(self.bias[...].astype(x.dtype), y.shape)

    def step(self, state: tuple[Array, ...], projected: Float[Array, "B G"]) -> tuple[Array, ...]:
        """The state after one step.

        Args:
            state: before the step, as `initial` makes it.
            projected: of the step's input, from `project`.
        """
        return self._step(state, projected, lambda number, x: self._map(x))

    @property
    def _map(self) -> Map:
        """What the state adds to the gates; the second bias of a GRU's candidate is within."""
        if self.candidate_bias is None:
            return Map(self.kernel[...])
        inner = self.candidate_bias[...]
        return Map(self.kernel[...], jnp.concatenate([jnp.zeros(2 * self.width, inner.dtype), inner]))

    def _step(
        self, state: tuple[Array, ...], projected: Float[Array, "B G"], mapped: Callable[[int, Array], Array]
    ) -> tuple[Array, ...]:
        hidden = state[0]
        recurrent = mapped(0, hidden.astype(projected.dtype))
        projected = projected.astype(jnp.float32)
        if self.cell == "simple":
            return (jnp.tanh(projected + recurrent),)
        if self.cell == "lstm":
            i, f, g, o = jnp.split(projected + recurrent, 4, axis=1)
            carried = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
            return jax.nn.sigmoid(o) * jnp.tanh(carried), carried
        r, z, n = jnp.split(projected, 3, axis=1)
        reset, update, candidate = jnp.split(recurrent, 3, axis=1)
        new = jnp.tanh(n + jax.nn.sigmoid(r + reset) * candidate)
        keep = jax.nn.sigmoid(z + update)
        return ((1 - keep) * new + keep * hidden,)

    def __call__(
        self, x: Float[Array, "B T C"], valid: Bool[Array, "B T"], forward: Forward
    ) -> tuple[Float[Array, "B T H"], tuple[Array, ...]]:
        """Hidden states after each step, 0 on steps that do not count, and the state at the end.

        Args:
            x: series.
            valid: which steps count; the others come last.
            forward: what the pass knows besides.
        """
        initial = self.initial(x.shape[0])
        if self.cell == "simple":
            hidden, last = over_time(self._step, (self._map,), initial, self.project(x), valid, self.backwards)
            return hidden.astype(x.dtype), last
        if self.cell == "lstm" and cudnn.takes_lstm(x, forward.context):
            kernels = self.input_kernel[...], self.kernel[...], self.bias[...]
            hidden, last = cudnn.lstm(x, kernels, valid, self.backwards)
            return jnp.where(valid[..., None], hidden, 0), last
        initial = tuple(part.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32) for part in initial)
        kernels = self.input_kernel[...], self.kernel[...], self.bias[...]
        by_time = jnp.swapaxes(x, 0, 1)
        if self.candidate_bias is None:
            hidden, last = lstm_over_time(by_time, kernels, initial, valid.T, self.backwards)
        else:
            kernels = *kernels, self.candidate_bias[...]
            hidden, end = gru_over_time(by_time, kernels, initial[0], valid.T, self.backwards)
            last = (end,)
        hidden = jnp.where(valid[..., None], jnp.swapaxes(hidden, 0, 1), 0)
        return hidden.astype(x.dtype), last


class DecayRecurrent(nnx.Module):
    """GRU-D: a GRU that knows what was measured, and when each variable was measured last.

    Che et al., "Recurrent neural networks for multivariate time series with missing values", Scientific Reports 2018,
    equations 10 to 17. With ``m`` the mask, ``d`` the time since the last measurement, ``x`` the last value measured
    (0, the mean, where there is none) and ``a = exp(-max(0, w d + b))`` for inputs (``w`` per variable) and hidden
    state (a full matrix): ``x' = m x + (1 - m) a x``, ``h' = a h``, and then a GRU on ``x'``, ``h'`` and ``m`` whose
    reset gate acts before the matrix product. Decays, gates and the state are float32, as in `Recurrent`.
    """

    def __init__(self, in_features: int, width: int, *, rngs: nnx.Rngs) -> None:
        """Draw the kernels; decays start slow.

        Args:
            in_features: number C of variables.
            width: units of the hidden state.
            rngs: keys of the initialisers.
        """
        self.width = width
        orthogonal = initializers.by_name("orthogonal")
        self.input_kernel = nnx.Param(_drawn("glorot_uniform", rngs, in_features, 3 * width))
        self.mask_kernel = nnx.Param(_drawn("glorot_uniform", rngs, in_features, 3 * width))
        self.bias = nnx.Param(jnp.zeros(3 * width, jnp.float32))
        self.gate_kernel = nnx.Param(
            jnp.concatenate([orthogonal(rngs.params(), (width, width), jnp.float32) for _ in range(2)], axis=1)
        )
        self.candidate_kernel = nnx.Param(orthogonal(rngs.params(), (width, width), jnp.float32))
        self.input_decay = nnx.Param(
            jax.random.uniform(rngs.params(), (in_features,), jnp.float32, 0, 0.1), float32=True
        )
        self.input_decay_bias = nnx.Param(jnp.zeros(in_features, jnp.float32), float32=True)
        bound = 1 / in_features
        self.hidden_decay = nnx.Param(
            jax.random.uniform(rngs.params(), (in_features, width), jnp.float32, -bound / 10, bound / 10), float32=True
        )
        self.hidden_decay_bias = nnx.Param(jnp.zeros(width, jnp.float32), float32=True)

    def __call__(
        self,
        values: Float[Array, "B T C"],
        observed: Bool[Array, "B T C"],
        since: Float[Array, "B T C"],
        valid: Bool[Array, "B T"],
        forward: Forward,
    ) -> tuple[Float[Array, "B T H"], tuple[Array, ...]]:
        """Hidden states after each step, 0 on steps that do not count, and the state at the end.

        Args:
            values: the last measured ones, scaled so that 0 is the mean.
            observed: which of them were measured at that step.
            since: time since the last measurement before the step, or since the beginning.
            valid: which steps count; the others come last.
            forward: what the pass knows besides.
        """
        dtype, shape = values.dtype, values.shape
        mask, since = observed.astype(dtype), since.astype(jnp.float32)
        slope, offset = (
            jnp.broadcast_to(p[...].astype(jnp.float32), shape) for p in (self.input_decay, self.input_decay_bias)
        )
        remembered = jnp.exp(-jax.nn.relu(slope * since + offset)).astype(dtype)
        decayed = jnp.where(observed, values, remembered * values)
        decay = since @ self.hidden_decay[...].astype(jnp.float32)
        offset = self.hidden_decay_bias[...].astype(jnp.float32)
        decay = jnp.exp(-jax.nn.relu(decay + jnp.broadcast_to(offset, decay.shape)))
        projected = decayed @ self.input_kernel[...].astype(dtype) + mask @ self.mask_kernel[...].astype(dtype)
        projected = projected + jnp.broadcast_to(self.bias[...].astype(dtype), projected.shape)

        def step(state: tuple[Array, ...], arrived: tuple[Array, Array], mapped: Any) -> tuple[Array, ...]:
            projected, decay = arrived
            hidden = decay * state[0]
            reset, update, new = jnp.split(projected.astype(jnp.float32), 3, axis=1)
            from_reset, from_update = jnp.split(mapped(0, hidden.astype(dtype)), 2, axis=1)
            reset, update = jax.nn.sigmoid(reset + from_reset), jax.nn.sigmoid(update + from_update)
            kept = (1 - update) * hidden
            return (kept + update * jnp.tanh(new + mapped(1, (reset * hidden).astype(dtype))),)

        initial = (jnp.zeros((shape[0], self.width), jnp.float32),)
        maps = Map(self.gate_kernel[...]), Map(self.candidate_kernel[...])
        hidden, last = over_time(step, maps, initial, (projected, decay), valid)
        return hidden.astype(dtype), last


class Map(NamedTuple):
    """An affine map that acts at each step: kernel ``[H, G]`` and bias ``[G]``, or None."""

    kernel: Float[Array, "H G"]
    bias: Float[Array, " G"] | None = None

    def __call__(self, x: Float[Array, "B H"]) -> Float32[Array, "B G"]:
        """The product in the precision of ``x``, added up in float32, plus the bias."""
        y = jnp.matmul(x, self.kernel.astype(x.dtype), preferred_element_type=jnp.float32)
        return y if self.bias is None else y + jnp.broadcast_to(self.bias.astype(jnp.float32), y.shape)


Step = Callable[[tuple[Array, ...], Any, Callable[[int, Array], Array]], tuple[Array, ...]]
"""State, what arrives, and ``mapped(number, x)``, which takes ``x`` through a map, to the next state."""


def over_time(
    step: Step,
    maps: tuple[Map, ...],
    initial: tuple[Array, ...],
    arrived: Any,
    valid: Bool[Array, "B T"],
    backwards: bool = False,
) -> tuple[Float[Array, "B T H"], tuple[Array, ...]]:
    """The first part of the state after each step, 0 on steps that do not count, and the whole state at the end.

    The gradient of a kernel is a sum over steps. Taken step by step it would be as many small products, and with rows
    on several devices as many messages between them. So what goes into each map, and the gradient of what comes out of
    it, are kept for all steps, and one product after the loop makes the gradient of the kernel from both.

    Args:
        step: one step; it must not close over numbers that are learnt.
        maps: affine maps of a step, each used once in it.
        initial: the state before the first step.
        arrived: pytree of arrays ``[B, T, ...]``, floating.
        valid: which steps count; on the others the state stays.
        backwards: from the last step to the first.
    """

    def loop(maps: Any, initial: Any, arrived: Any, valid: Any, added: Any) -> tuple[Any, Any]:
        """What `over_time` gives, by time, and what went into each map."""

        def one(state: tuple[Array, ...], now: tuple[Any, Array, Any]) -> tuple[tuple[Array, ...], Any]:
            arrived, counts, added = now
            went_in: list[Any] = [None] * len(maps)

            def mapped(number: int, x: Array) -> Array:
                went_in[number] = x
                return maps[number](x) if added is None else maps[number](x) + added[number]

            counts = counts[:, None]
            new = step(state, arrived, mapped)
            state = tuple(jnp.where(counts, new, old) for new, old in zip(new, state, strict=True))
            return state, (jnp.where(counts, state[0], 0), tuple(went_in))

        last, (hidden, went_in) = jax.lax.scan(one, initial, (arrived, valid, added), reverse=backwards)
        return (hidden, last), went_in

    @jax.custom_vjp
    def run(maps: Any, initial: Any, arrived: Any, valid: Any) -> Any:
        return loop(maps, initial, arrived, valid, None)[0]

    def forwards(maps: Any, initial: Any, arrived: Any, valid: Any) -> tuple[Any, Any]:
        added = tuple(jnp.zeros((*valid.shape, each.kernel.shape[1]), jnp.float32) for each in maps)
        found, back, went_in = jax.vjp(
            lambda initial, arrived, added: loop(maps, initial, arrived, valid, added),
            initial,
            arrived,
            added,
            has_aux=True,
        )
        return found, (maps, back, went_in)

    def backward(kept: Any, gradient: Any) -> Any:
        maps, back, went_in = kept
        by_initial, by_arrived, by_map = back(gradient)
        of_maps = tuple(
            Map(_over_steps(x, by_each, each.kernel), None if each.bias is None else _summed(by_each, each.bias))
            for each, x, by_each in zip(maps, went_in, by_map, strict=True)
        )
        return of_maps, by_initial, by_arrived, None

    run.defvjp(forwards, backward)
    by_time = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (arrived, valid))
    hidden, last = run(maps, initial, *by_time)
    return jnp.swapaxes(hidden, 0, 1), last


def _over_steps(x: Float[Array, "T B H"], gradient: Float[Array, "T B G"], like: Array) -> Float[Array, "H G"]:
    """Gradient of a kernel from what went in and the gradients of what came out."""
    product = jax.lax.dot_general(
        x, gradient.astype(x.dtype), (((0, 1), (0, 1)), ((), ())), preferred_element_type=jnp.float32
    )
    return product.astype(like.dtype)


def _summed(gradient: Float[Array, "T B G"], like: Array) -> Float[Array, " G"]:
    return gradient.sum((0, 1)).astype(like.dtype)


def _drawn(name: str, rngs: nnx.Rngs, rows: int, columns: int) -> Float[Array, "n m"]:
    return initializers.by_name(name)(rngs.params(), (rows, columns), jnp.float32)
