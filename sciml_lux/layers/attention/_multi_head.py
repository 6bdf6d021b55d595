"""`MultiHeadAttention`: attention between projections of the inputs."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from ..._errors import LayerError, ShapeError
from ...core import AbstractContainer, AbstractLayer, State, as_input
from ...flatten import Parameters
from ...kernels import fused_applies
from .. import init
from .._checks import check_flag, check_last_axis, check_number, check_positive
from ..linear import Dense
from ..noise import Dropout
from ._attention import (
    allowed_pairs,
    attention_weights,
    check_heads,
    check_window,
    scaled_dot_product_attention,
    weighted_values,
    without_unseen,
)


class MultiHeadAttention(AbstractContainer):
    """Attention in several heads, between linear projections of the inputs, projected back.

        y = output(concatenate(attention(query(q), key(k), value(v)) for each head))

    **Arguments:** `features`: of the queries and the result; `heads`: divides `features`; `key_value_heads`: fewer heads of keys and
    values, which divide `heads` (grouped-query attention; 1: multi-query); `context_features`: of the keys and values, where
    these differ from `features`; `causal`: whether a position looks only at itself and those before it; `use_bias`: of
    all four projections; `dropout`: with which probability a weight of the attention is dropped in train mode;
    `position`: a function of queries, and of keys, of shape `(..., length, heads, head_features)`, such as `lux.rotary_embedding`;
    `init_weight`, `init_bias`: Glorot uniform and zeros; `window`: how far a position looks, a number or a pair (before, after), as
    for `lux.scaled_dot_product_attention`; `attention_bias`: a function of the numbers `length` and `key_length`, whose result, of a
    shape that broadcasts to `(heads, length, key_length)`, is added to the scores: that of ALiBi, for example.

    **Call:** self attention: `x` `(..., length, features)` gives the same shape; `(x, mask)` with a mask. Cross attention: `(query, key,
    value)` or `(query, key, value, mask)`, of shapes `(..., length, features)` and `(..., key_length, context_features)`, gives
    `(..., length, features)`. The mask is boolean, True where a query may look at a key, and broadcasts to `(..., heads, length,
    key_length)`: for padded sequences, `valid[..., None, None, :]`, or where padding may hold anything and its own results do not
    matter, that `& valid[..., None, :, None]`. A query that may look at nothing gets zeros before the projection
    `output`.

    **Parameters:** `query`, `output`: `weight` `(features, features)`, `bias` `(features,)`; `key`, `value`: `weight`
    `(context_features, key_value_heads * features / heads)`, `bias`. **States:** with dropout, that of a `Dropout`, under `dropout`.

    **Errors:** `LayerError` for heads that do not divide; `ShapeError` for inputs and masks that do not fit.

    **Source:** Vaswani et al. 2017, Attention is all you need.
    """

    features: int
    heads: int
    key_value_heads: int | None = None
    context_features: int | None = None
    causal: bool = False
    use_bias: bool = True
    dropout: float = 0.0
    position: Callable[[Any], Any] | None = None
    init_weight: Callable[..., Any] = init.glorot_uniform()
    init_bias: Callable[..., Any] = init.zeros()
    window: int | tuple[int, int] | None = None
    attention_bias: Callable[[int, int], Any] | None = None

    def __post_init__(self) -> None:
        check_positive(self, features=self.features, heads=self.heads)
        check_window("MultiHeadAttention", self.window)
        for name in ("key_value_heads", "context_features"):
            if getattr(self, name) is not None:
                check_positive(self, **{name: getattr(self, name)})
        check_flag(self, causal=self.causal, use_bias=self.use_bias)
        check_number(self, 0.0, 1.0, dropout=self.dropout)
        if self.features % self.heads:
            raise LayerError(f"MultiHeadAttention: heads divides features, got {self.heads} heads for {self.features}")
        if self.heads % self._groups:
            raise LayerError(
                f"MultiHeadAttention: key_value_heads divides heads, got {self.key_value_heads} for {self.heads}"
            )
        if self.position is not None and not callable(self.position):
            raise LayerError(
                f"MultiHeadAttention: position is a function such as lux.rotary_embedding, or None, got {self.position!r}"
            )
        if self.attention_bias is not None and not callable(self.attention_bias):
            raise LayerError(
                "MultiHeadAttention: attention_bias is a function of length and key_length, or None, got "
                f"{self.attention_bias!r}; an array of your own goes to lux.scaled_dot_product_attention(..., bias=...)"
            )

    @property
    def _groups(self) -> int:
        return self.heads if self.key_value_heads is None else self.key_value_heads

    def children(self) -> dict[str, AbstractLayer]:
        options: dict[str, Any] = {
            "use_bias": self.use_bias,
            "init_weight": self.init_weight,
            "init_bias": self.init_bias,
        }
        context = self.features if self.context_features is None else self.context_features
        shared = self._groups * (self.features // self.heads)
        layers: dict[str, AbstractLayer] = {
            "query": Dense(self.features, self.features, **options),
            "key": Dense(context, shared, **options),
            "value": Dense(context, shared, **options),
            "output": Dense(self.features, self.features, **options),
        }
        return layers | ({"dropout": Dropout(self.dropout)} if self.dropout else {})

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Array, State]:
        layers, states = self.children(), dict(st)
        *inputs, mask = self._inputs(x)
        names, numbers = ("query", "key", "value"), (self.heads, self._groups, self._groups)
        for name, given in zip(names, inputs, strict=True):
            check_last_axis(self, given, layers[name].in_features)  # type: ignore[attr-defined]
        shapes = [
            (*given.shape[:-1], number, self.features // self.heads)
            for given, number in zip(inputs, numbers, strict=True)
        ]
        check_heads(*shapes)
        *leading, length = shapes[0][:-2]
        key_length = shapes[1][-3]
        bias = None if self.attention_bias is None else self.attention_bias(length, key_length)
        allowed = allowed_pairs((*leading, self.heads, length, key_length), mask, self.causal, bias, self.window)
        lost = None
        if allowed is not None:
            # Before the projections, whose gradients would add up 0 times what stands there.
            query, key, value = inputs
            *inputs, lost = without_unseen(query, key, value, jnp.any(allowed, axis=-3))
        projected = []
        for name, given, shape in zip(names, inputs, shapes, strict=True):
            y, states[name] = layers[name](given, ps[name], st[name])
            y = y.reshape(shape)
            projected.append(y if self.position is None or name == "value" else self.position(y))
        query, key, value = projected
        dropping = self.dropout and st.dropout.training
        fuses = bias is None and self.window is None and fused_applies(query, key, value, mask)
        if dropping or (allowed is not None and not fuses):
            weights = attention_weights(query, key, allowed, 1.0 / math.sqrt(self.features // self.heads), bias)
            if dropping:
                weights, states["dropout"] = layers["dropout"](weights, ps.dropout, st.dropout)
            y = weighted_values(weights, value)
        else:
            y = scaled_dot_product_attention(query, key, value, causal=self.causal)
        y = y.reshape(*y.shape[:-2], self.features)
        y, states["output"] = layers["output"](y, ps.output, st.output)
        return (y if lost is None else jnp.where(lost, jnp.nan, y)), State(states)

    def _inputs(self, x: Any) -> tuple[Any, Any, Any, Any]:
        given: list[Any] = list(x) if isinstance(x, tuple) else [x]
        if not 1 <= len(given) <= 4:
            raise ShapeError(
                f"MultiHeadAttention takes x, (x, mask), (query, key, value) or (query, key, value, mask), got {len(given)} parts"
            )
        mask = given[-1] if len(given) in (2, 4) else None
        given = [part if part is mask and len(given) != 3 else as_input(self, part) for part in given]
        if any(jnp.ndim(part) < 2 for part in given[:3] if part is not mask):
            raise ShapeError(
                f"MultiHeadAttention expects inputs (..., length, features), got {', '.join(str(jnp.shape(part)) for part in given)}"
            )
        query, key, value = (given[0], given[1], given[2]) if len(given) > 2 else (given[0], given[0], given[0])
        return query, key, value, mask
