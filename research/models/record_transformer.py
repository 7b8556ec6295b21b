"""The transformer for patient records: sequences of coded events with times, visits and ages."""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from research.errors import UserError
from research.models.layers import Embedding, NumberEmbedding, TimeEncoding
from research.models.model import Forward
from research.models.transformer import Position, SequenceNetwork, SequenceTransformer
from research.spec import Static, field
from research.task import Task

OLDEST = 120.0
"""Years; ages beyond fall into the last bin."""


class RecordTransformer(SequenceTransformer):
    """A transformer over the coded events of a patient: BEHRT (Li et al., Scientific Reports 2020).

    Inputs are a dict of ``codes [B, T]``, 0 where there is none; ``time [B, T]``; ``visit [B, T]``, numbers of visits;
    ``age [B, T]`` in years, NaN where unknown; ``length [B]``; and optionally ``number [B, T]``, a value that belongs
    to the event, scaled, with ``number_known``. An event is the sum of what is embedded of these: its code, the age at
    it, whether its visit is even or odd, its number, and the encoding of its place, which is its time unless ``clock``
    says otherwise (BEHRT: ``position=sinusoidal clock=visit age=bins``).

    ``causal=True`` with ``readout=each`` makes it a decoder that predicts the next event at each. Padding changes
    nothing.
    """

    vocabulary: int = field(minimum=2, help="number of codes, padding (0) among them: the greatest code and one")
    position: Position = field("continuous", help="how events know where they are; continuous: Time2Vec, learnt")
    age: Literal["none", "continuous", "bins"] = field("continuous", help="how the age at an event is embedded")
    age_bin: Static[float] = field(1.0, above=0, help="width of the bins of age, years")
    visits: bool = field(True, help="embed whether the number of the visit is even or odd")

    def check_data(self, details: dict[str, Any], task: Task) -> None:
        """See `Model.check_data`: every code of the data has a row in the table."""
        numbers = details.get("events", {}).get("numbers", 0)
        if numbers > self.vocabulary:
            raise UserError(
                f"model.vocabulary: {self.vocabulary} numbers for codes do not suffice, the data has {numbers}. Set "
                f"model.vocabulary={numbers}, or data.vocabulary={self.vocabulary} to keep fewer codes."
            )

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`.

        Raises:
            UserError: where the inputs are no records, lack what is to be embedded, or are longer than learned
                positions reach.
        """
        needed = {"codes", "length"}
        needed |= {"age"} if self.age != "none" else set()
        needed |= {"visit"} if self.visits or self.used_clock == "visit" else set()
        needed |= {"time"} if self.used_clock == "time" and self.position != "none" else set()
        needed |= {"number_known"} if isinstance(inputs, dict) and "number" in inputs else set()
        if not isinstance(inputs, dict) or not needed <= set(inputs):
            given = f"a dict of {', '.join(inputs)}" if isinstance(inputs, dict) else f"an array of {inputs.shape}"
            raise UserError(
                f"model: RecordTransformer takes records ({', '.join(sorted(needed))}), but one example is {given}. "
                f"Use data of records, leave out what is missing (age=none, visits=false, position=none), or use "
                f"another model: SeriesTransformer for series, MLP for tables."
            )
        return RecordNetwork(self, inputs, outputs, rngs)


class RecordNetwork(nnx.Module):
    """The module that `RecordTransformer` builds."""

    def __init__(self, spec: RecordTransformer, inputs: Any, outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers."""
        width, self.age_bin = spec.width, spec.age_bin
        self.codes = Embedding(spec.vocabulary, width, rngs=rngs)
        self.visits = Embedding(3, width, rngs=rngs) if spec.visits else None
        self.ages = TimeEncoding(width) if spec.age == "continuous" else None
        bins = math.ceil(OLDEST / spec.age_bin)
        self.age_bins = Embedding(1 + bins, width, rngs=rngs) if spec.age == "bins" else None
        self.numbers = NumberEmbedding(width, rngs=rngs) if "number" in inputs else None
        static = inputs["static"].shape[0] if "static" in inputs else 0
        self.network = SequenceNetwork(spec, inputs["codes"].shape[0], static, outputs, rngs)

    def __call__(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B ..."]:
        """Outputs of each example, ``[B, K]``, or of each event, ``[B, T, K]``."""
        valid = valid_events(inputs)
        x = self.codes(jnp.where(valid, inputs["codes"], 0), forward)
        if self.visits is not None:
            x = x + self.visits(1 + inputs["visit"] % 2, forward)
        if self.ages is not None or self.age_bins is not None:
            x = x + self._embedded_age(inputs["age"].astype(jnp.float32), forward).astype(x.dtype)
        if self.numbers is not None:
            known = inputs["number_known"]
            number = self.numbers(jnp.where(known, inputs["number"], 0).astype(x.dtype), forward)
            x = x + jnp.where(known[..., None], number, 0)
        return self.network(x, valid, inputs, forward)

    def _embedded_age(self, age: Float[Array, "B T"], forward: Forward) -> Float[Array, "B T D"]:
        """Zeros where the age is not known."""
        known = ~jnp.isnan(age)
        age = jnp.where(known, age, 0)
        if self.ages is not None:
            return jnp.where(known[..., None], self.ages(age), 0)
        assert self.age_bins is not None
        number = 1 + jnp.floor(age / self.age_bin).astype(jnp.int32)
        return self.age_bins(jnp.where(known, number.clip(1, self.age_bins.table.shape[0]), 0), forward)


def valid_events(inputs: dict[str, Array]) -> Bool[Array, "B T"]:
    """Which events are there: within the length, and with a code."""
    steps = jax.lax.broadcasted_iota(jnp.int32, inputs["codes"].shape, 1)
    return (steps < inputs["length"][:, None]) & (inputs["codes"] != 0)
