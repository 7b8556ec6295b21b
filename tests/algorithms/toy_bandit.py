"""A toy bandit: no data, the environment inside the state, rows per episode. For the contract test."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from research.algorithms import Algorithm, State
from research.spec import field

ARMS = (0.1, 0.5, 0.9)


class ToyBandit(Algorithm):
    """Gradient bandit (Williams, 1992): a softmax policy over arms of known pay, learning on-line."""

    rows: ClassVar = "episode"
    uses_data: ClassVar = False
    step_size: float = field(0.1, above=0)
    episodes: int = field(32, minimum=1)

    def init(self, spec: Any, key: Any, example: Any) -> State:
        assert example is None
        arms = jax.random.permutation(key, jnp.array(ARMS, jnp.float32))
        return State({"preference": jnp.zeros(len(ARMS))}, {}, (), {"pay": arms, "reward": jnp.float32(0)})

    def update(self, spec: Any, state: State, batch: Any, key: Any, context: Any) -> Any:
        choose, pay = jax.random.split(key)
        preference = state.params["preference"]
        arm = jax.random.categorical(choose, preference)
        reward = jax.random.bernoulli(pay, state.extra["pay"][arm]).astype(jnp.float32)
        baseline = state.extra["reward"]
        gradient = jax.grad(lambda p: jax.nn.log_softmax(p)[arm])(preference)
        params = {"preference": preference + self.step_size * (reward - baseline) * gradient}
        extra = {**state.extra, "reward": baseline + self.step_size * (reward - baseline)}
        return State(params, {}, (), extra), {"loss": 1 - reward}

    def evaluate(self, spec: Any, state: State, batch: Any, key: Any, context: Any) -> Any:
        def episode(key: Any) -> Any:
            arm = jax.random.categorical(key, state.params["preference"])
            return state.extra["pay"].max() - state.extra["pay"][arm]

        regret = jax.vmap(episode)(jax.random.split(key, self.episodes))
        return {"loss": regret, "regret": regret}
