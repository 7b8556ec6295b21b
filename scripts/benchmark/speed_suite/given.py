"""Writes what all contestants are given: initial parameters of this framework's model, and its first batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from research.data.resident import take
from research.experiment import Execution
from research.models.functional import apply, paths
from research.models.layers import positions
from research.models.model import Forward
from research.training.flops import flops
from research.training.provenance import machine
from research.training.setup import Setup, set_up, with_fitted
from speed_suite.made_data import experiment_of
from speed_suite.workloads import COMPARED, Workload

BYTES = 2**25
"""Most bytes of inputs."""


class Contestant:
    """No contestant, but in a process of its own as they are."""

    def __init__(self, workload: Workload, mode: str, given: Path, options: dict[str, Any]) -> None:
        self.workload, self.given = workload, given

    def prepare(self) -> dict[str, Any]:
        """Write the file."""
        workload = self.workload
        setup = set_up(experiment_of(workload), 0, Execution())
        assert setup.feed is not None and setup.reading is not None and setup.prepared is not None
        carry = setup.program.initialise()
        size = 4 * workload.batch * int(np.prod(workload.shape))
        count = max(COMPARED, min(100, BYTES // size))
        index, mask = setup.reading.rows(0, count)
        assert mask.all()
        data = with_fitted(setup.experiment, setup.prepared).data
        train: Any = setup.splits["train"]
        assert data is not None
        seen = jax.jit(lambda index, mask: data.transform(take(train, index, mask)))
        batches = [jax.device_get(seen(*each)) for each in zip(index, mask, strict=True)]
        inputs = [batch.inputs["values"] if workload.kind == "series" else batch.inputs for batch in batches]
        arrays = {name: np.asarray(leaf) for name, leaf in paths(carry.state.params).items()}
        parameters = sum(leaf.size for leaf in arrays.values())
        if workload.options.get("position") == "sinusoidal":
            place = jnp.arange(workload.shape[0], dtype=jnp.float32)[None]
            arrays["positions"] = np.asarray(positions.sinusoidal(place, workload.options["width"])[0])
        arrays["inputs"] = np.stack(inputs)
        arrays["targets"] = np.stack([batch.targets for batch in batches]).astype(np.int32)
        facts = setup.program.compile(carry, setup.feed.window(0), None, False)
        forward = jax.jit(lambda params, state, rows: _forward(setup, params, state, rows))
        arrays["outputs"] = np.asarray(forward(carry.state.params, carry.state.model_state, batches[0]))
        np.savez(self.given, allow_pickle=False, **arrays)
        counted = flops(forward.trace(carry.state.params, carry.state.model_state, batches[0]).jaxpr)
        told = {"parameters": parameters, "flops": facts["flops_per_update"], "forward_flops": counted}
        return told | {"machine": machine()}


def _forward(setup: Setup, params: Any, state: Any, batch: Any) -> Any:
    model, loss = setup.experiment.model, setup.experiment.loss
    assert model is not None and loss is not None
    outputs = loss.outputs(batch.task)
    return apply(model, params, state, batch.inputs, outputs, Forward(), jax.random.key(0))[0]
