"""A multilayer perceptron."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import LayerError
from ...core import AbstractContainer, AbstractLayer, State
from ...flatten import Parameters
from .._checks import check_activation, check_flag, check_last_axis, check_number, check_sizes
from .._starts import DEFAULT_WEIGHT
from ..containers import Chain, WrappedFunction
from ..noise import Dropout
from ._dense import Dense


class MLP(AbstractContainer):
    """Fully connected layers one after the other: hidden ones, each with norm, activation and dropout, and a last one without.

        lux.MLP(2, (64, 64), 1, jax.nn.gelu, norm=lux.LayerNorm, dropout=0.1)

    A hidden layer is `h -> dropout(activation(norm(h @ weight + bias)))`. It is computed as the `Chain` of its layers.

    **Arguments:** `in_features`; `hidden`: the sizes of the hidden layers, a tuple, `()` for none; `out_features`; `activation`: an
    elementwise function, or None; `norm`: a function of the size that makes a layer, such as `lux.LayerNorm`; `dropout`: the
    probability with which a number is dropped; `residual`: adds to the result of each hidden layer its input, if both have the same
    size; `use_bias`, `init_weight`, `init_bias`: as for `Dense`.

    **Call:** `x` of shape `(..., in_features)` gives `(..., out_features)`.

    **Parameters:** `hidden_0` (a `Dense`), `norm_0`, `hidden_1`, ..., `output` (a `Dense`). **States:** those of norms and dropouts
    (`norm_0`, `dropout_0`, ...).

    **Errors:** `LayerError` for arguments that cannot be, and for `residual` where no hidden layer keeps the size of its input;
    `ShapeError` for another last axis.
    """

    in_features: int
    hidden: tuple[int, ...]
    out_features: int
    activation: Callable[[Any], Any] | None = jnp.tanh
    norm: Callable[[int], AbstractLayer] | None = None
    dropout: float = 0.0
    residual: bool = False
    use_bias: bool = True
    init_weight: Callable[..., Any] = DEFAULT_WEIGHT
    init_bias: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        hidden: Any = self.hidden
        if not isinstance(hidden, tuple):
            raise LayerError(f"MLP: hidden is a tuple of sizes such as (64, 64), got {hidden!r}")
        check_sizes(self, in_features=self.in_features, out_features=self.out_features)
        check_sizes(self, **{f"hidden[{i}]": size for i, size in enumerate(hidden)})
        check_activation(self, self.activation)
        check_number(self, 0.0, 1.0, dropout=self.dropout)
        check_flag(self, residual=self.residual, use_bias=self.use_bias)
        if self.norm is not None and (isinstance(self.norm, AbstractLayer) or not callable(self.norm)):
            raise LayerError(
                f"MLP: norm is a function of the size that makes a layer, such as lux.LayerNorm, or None, got {self.norm!r}"
            )
        sizes = (self.in_features, *hidden)
        if self.residual and all(a != b for a, b in zip(sizes, hidden, strict=False)):
            raise LayerError(
                f"MLP: residual adds inputs to results of the same size, but no hidden layer keeps its size: {sizes}"
            )

    @functools.cached_property
    def _blocks(self) -> tuple[Chain, ...]:
        """One chain for each hidden layer, and one for the last."""
        options: dict[str, Any] = {
            "use_bias": self.use_bias,
            "init_weight": self.init_weight,
            "init_bias": self.init_bias,
        }
        blocks, features = [], self.in_features
        for i, size in enumerate(self.hidden):
            block: dict[str, AbstractLayer] = {}
            block[f"hidden_{i}"] = Dense(features, size, self.activation if self.norm is None else None, **options)
            if self.norm is not None:
                block[f"norm_{i}"] = self.norm(size)
                if self.activation is not None:
                    block[f"activation_{i}"] = WrappedFunction(self.activation)
            if self.dropout > 0:
                block[f"dropout_{i}"] = Dropout(self.dropout)
            blocks.append(Chain(**block))
            features = size
        return (*blocks, Chain(output=Dense(features, self.out_features, **options)))

    @functools.cached_property
    def _whole(self) -> Chain:
        return Chain(**{name: layer for block in self._blocks for name, layer in block.children().items()})

    def children(self) -> dict[str, AbstractLayer]:
        return self._whole.children()

    def with_children(self, children: Mapping[str, AbstractLayer]) -> AbstractContainer:
        """The `Chain` of other layers under these names. **Errors:** `LayerError` for one with `residual`, which is no chain."""
        if self.residual:
            raise LayerError(
                "MLP(residual=True) makes its layers itself, so that none can be replaced; write a lux.Chain of lux.SkipConnection"
            )
        return Chain(**children)

    def __call__(self, x: Float[Array, "... in"], ps: Parameters, st: State) -> tuple[Float[Array, "... out"], State]:
        check_last_axis(self, x, self.in_features)
        if not self.residual:
            return self._whole(x, ps, st)
        *hidden, last = self._blocks
        for block in hidden:
            y, st = block(x, ps, st)
            x = x + y if x.shape == y.shape else y
        return last(x, ps, st)
