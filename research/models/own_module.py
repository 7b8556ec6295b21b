"""A user's own Flax NNX module as a model."""

from __future__ import annotations

import inspect
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.model import Forward, Model
from research.spec import field


class OwnModule(Model):
    """A `flax.nnx.Module` class of your own, used as it is.

    ::

        class Net(nnx.Module):
            def __init__(self, in_features, outputs, *, hidden=32, rngs):
                self.first = nnx.Linear(in_features, hidden, rngs=rngs)
                self.drop = nnx.Dropout(0.2, rngs=rngs)
                self.last = nnx.Linear(hidden, outputs, rngs=rngs)

            def __call__(self, x):
                return self.last(self.drop(nnx.relu(self.first(x))))

        model = OwnModule(module=Net, arguments=(("hidden", 64),))

    ``in_features`` is the length of the last axis of one example, or a dict of them where the inputs are a dict. The
    module is switched by its own ``train()`` and ``eval()``. Its arguments are structure: changing one compiles a new
    program. On a processor its ``nnx.Conv`` compute as the layers of this framework do
    (`research.models.layers.flax_convolution`), which leaves out derivatives forward (``jax.jvp``); give it
    ``conv_general_dilated=`` a function of your own, or ``execution.lowerings=reference``, for these. Its dropout draws
    for the batch as a whole, and its batch normalisation counts padding rows; the layers in `research.models.layers` do
    neither. So a module that holds ``nnx.BatchNorm`` or ``nnx.Dropout`` is refused by ``execution.parallel.mode=pmap``
    on several devices: each would take statistics of its own rows, and draw alike for different rows. By ``jit`` the
    numbers are those of one device; by ``pmap`` too where layers look at one row alone (``nnx.LayerNorm``), or where a
    `Model` builds on `BatchNorm` and `Dropout` of `research.models.layers`.

    A module of pictures whose answers are to be explained by Grad-CAM has two further methods, one after the other
    being its call: ``features(self, x) -> [B, h, w, C]``, the last feature maps, and ``head(self, maps) -> [B, K]``.
    Where its maps do not look at evenly shared parts of the whole picture, its attribute ``placement``, a
    `research.models.placement.Placement`, says where they look.
    """

    module: type[nnx.Module] = field(help="the class; it must be importable by name")
    arguments: tuple[tuple[str, Any], ...] = field((), help="further arguments of its constructor, as (name, value)")

    def validate(self) -> None:
        """Raises `UserError` where ``module`` is no NNX module or the arguments do not fit its constructor."""
        if not issubclass(self.module, nnx.Module):
            raise UserError(f"module: {self.module.__name__} is not a flax.nnx.Module; derive it from nnx.Module.")
        names = [name for name, _ in self.arguments]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"arguments: {', '.join(twice)} given more than once.")
        if "rngs" in names:
            raise UserError("arguments: rngs is given by the framework; leave it out.")
        self._check_signature()

    def _check_signature(self) -> None:
        # The metaclass of NNX hides the constructor behind (*args, **kwargs): ask the constructor itself.
        whole = inspect.signature(self.module.__init__)
        signature = whole.replace(parameters=list(whole.parameters.values())[1:], return_annotation=whole.empty)
        try:
            signature.bind(1, 1, rngs=None, **dict(self.arguments))
        except TypeError as error:
            given = "".join(f", {name}={value!r}" for name, value in self.arguments)
            raise UserError(
                f"model: {self.module.__name__} is built as {self.module.__name__}(in_features, outputs{given}, "
                f"rngs=rngs), but its constructor is {self.module.__name__}{signature}: {error}. Change the "
                f"constructor or `arguments`."
            ) from None

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`.

        Raises:
            UserError: where the constructor or the call of the module takes other arguments.
        """
        self.validate()
        in_features = jax.tree.map(lambda leaf: leaf.shape[-1] if leaf.shape else 1, inputs)
        net: Any = self.module(in_features, outputs, rngs=rngs, **dict(self.arguments))  # pyright: ignore[reportCallIssue]
        name = self.module.__name__
        if not callable(net):
            raise UserError(f"model: {name} has no __call__(self, x); add one that returns [batch, {outputs}].")
        try:
            inspect.signature(net.__call__).bind(None)
        except TypeError as error:
            raise UserError(
                f"model: {name} is called as net(x), but its call is {name}.__call__"
                f"{inspect.signature(net.__call__)}: {error}. Give every other argument a default."
            ) from None
        explained = hasattr(net, "features") and hasattr(net, "head")
        return _OwnWithMaps(net, outputs) if explained else _Own(net, outputs)


class _Own(nnx.Module):
    """The user's module behind the call that every module here answers."""

    def __init__(self, net: Any, outputs: int) -> None:
        self.net = net
        self.outputs = outputs

    def _switched(self, forward: Forward) -> Any:
        if forward.train:
            self._check_alone(forward)
            self.net.train()
        else:
            self.net.eval()
        return self.net

    def _check_alone(self, forward: Forward) -> None:
        """Raise `UserError` where other programs have rows of the batch which the module's layers would not count."""
        if forward.context.alone:
            return
        kinds = {
            nnx.BatchStat: "takes statistics of the batch (nnx.BatchNorm)",
            nnx.RngState: "draws by itself (nnx.Dropout)",
        }
        held = [words for kind, words in kinds.items() if jax.tree.leaves(nnx.state(self.net, kind))]
        if held:
            raise UserError(
                f"execution.parallel.mode: pmap does not go with {type(self.net).__name__}, which "
                f"{' and '.join(held)}: on each device it would know its own rows alone. Set "
                f"execution.parallel.mode=jit; or use layers that look at one row alone, such as nnx.LayerNorm; or "
                f"derive a research.models.Model that builds on BatchNorm and Dropout of research.models.layers, which "
                f"know of the other devices."
            )

    def __call__(self, inputs: Any, forward: Forward) -> Float[Array, "B K"]:
        y = self._switched(forward)(inputs)
        rows = jax.tree.leaves(inputs)[0].shape[0]
        if getattr(y, "shape", None) != (rows, self.outputs):
            raise UserError(
                f"model: {type(self.net).__name__} returned "
                f"{f'an array of shape {y.shape}' if hasattr(y, 'shape') else type(y).__name__}; an array of shape "
                f"({rows}, {self.outputs}), batch by outputs, is needed."
            )
        return y


class _OwnWithMaps(_Own):
    """The same for a module that says which are its feature maps."""

    def __init__(self, net: Any, outputs: int) -> None:
        super().__init__(net, outputs)
        self.placement = getattr(net, "placement", None)

    def features(self, inputs: Any, forward: Forward) -> Float[Array, "B h w C"]:
        return self._switched(forward).features(inputs)

    def head(self, maps: Float[Array, "B h w C"], forward: Forward) -> Float[Array, "B K"]:
        return self._switched(forward).head(maps)
