"""A toy GAN: two players in one state, several batches per update, rows per generated sample. For the contract test.

Whatever it draws belongs to an example, its means are `Context.ratio`, and its gradients go through `Context.mean`: so
its numbers are the same on any number of devices.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from research import keys
from research.algorithms import Algorithm, State
from research.models import functional
from research.models.model import Forward, Model
from research.optimizers import Adam, Optimizer
from research.spec import Spec, field


class Players(Model):
    """Generator and discriminator, composed."""

    generator: Model
    discriminator: Model


class TwoOptimizers(Optimizer):
    """One optimizer per player."""

    generator: Optimizer = Adam(learning_rate=1e-3)
    discriminator: Optimizer = Adam(learning_rate=1e-3)


class Penalty(Spec):
    """Strength of the penalty that keeps the critic smooth at the data."""

    strength: float = field(1.0, minimum=0)


class ToyGAN(Algorithm):
    """Critic trained ``critic_steps`` times per generator step (the scheme of Arjovsky et al., ICML 2017)."""

    rows: ClassVar = "sample"
    critic_steps: int = field(2, minimum=1)
    latent: int = field(4, minimum=1)
    samples: int = field(64, minimum=1)
    penalty: Penalty = Penalty()

    @property
    def batches_per_update(self) -> int:
        return self.critic_steps

    def _noise(self, key: Any, example: Any) -> Any:
        return keys.uniform(keys.example_keys(key, example), 0, (self.latent,)) * 2 - 1

    def _play(self, spec: Any, which: str, params: Any, inputs: Any, outputs: int) -> Any:
        model = getattr(spec.model, which)
        return functional.apply(model, params[which], {}, inputs, outputs, Forward(), jax.random.key(0))[0]

    def init(self, spec: Any, key: Any, example: Any) -> State:
        width = example.inputs.shape[-1]
        first, second = jax.random.split(key)
        latent = jax.ShapeDtypeStruct((self.latent,), jnp.float32)
        data = jax.ShapeDtypeStruct((width,), jnp.float32)
        params = {
            "generator": functional.initialise(spec.model.generator, latent, width, first)[0],
            "discriminator": functional.initialise(spec.model.discriminator, data, 1, second)[0],
        }
        optimizers = {name: getattr(spec.optimizer, name).build(1).init(tree) for name, tree in params.items()}
        return State(params, {}, optimizers, {})

    def update(self, spec: Any, state: State, batch: Any, key: Any, context: Any) -> Any:
        params, optimizers = dict(state.params), dict(state.optimizer)

        def step(name: str, objective: Any) -> Any:
            loss, gradient = jax.value_and_grad(objective)(params[name])
            optimizer = getattr(spec.optimizer, name).build(context.total_updates)
            updates, optimizers[name] = optimizer.update(context.mean(gradient), optimizers[name], params[name])
            params[name] = jax.tree.map(jnp.add, params[name], updates)
            return loss

        for turn in range(self.critic_steps):
            real, mask = batch.inputs[turn], batch.mask[turn].astype(jnp.float32)
            noise = self._noise(jax.random.fold_in(key, turn), batch.example[turn])
            fake = self._play(spec, "generator", params, noise, real.shape[-1])

            def criticise(own: Any, real: Any = real, fake: Any = fake, mask: Any = mask) -> Any:
                both = {**params, "discriminator": own}
                on_real = self._play(spec, "discriminator", both, real, 1)[:, 0]
                on_fake = self._play(spec, "discriminator", both, fake, 1)[:, 0]
                cost = jax.nn.softplus(-on_real) + jax.nn.softplus(on_fake) + self.penalty.strength * on_real**2
                return context.ratio(cost * mask, mask)

            critic = step("discriminator", criticise)

        def generate(own: Any) -> Any:
            fake = self._play(spec, "generator", {**params, "generator": own}, noise, batch.inputs.shape[-1])
            cost = jax.nn.softplus(-self._play(spec, "discriminator", params, fake, 1)[:, 0])
            return context.ratio(cost * mask, mask)

        return State(params, {}, optimizers, {}), {"loss": critic, "generator": step("generator", generate)}

    def evaluate(self, spec: Any, state: State, batch: Any, key: Any, context: Any) -> Any:
        noise = self._noise(key, batch.example)
        fake = self._play(spec, "generator", state.params, noise, batch.inputs.shape[-1])
        return {"realism": self._play(spec, "discriminator", state.params, fake, 1)[:, 0], "norm": (fake**2).sum(-1)}
