"""`scaled_dot_product_attention`, and the two halves that it is made of."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._errors import LayerError, ShapeError
from ...kernels import fused_applies, fused_attention


def scaled_dot_product_attention(
    query: Float[Array, "... length heads head_features"],
    key: Float[Array, "... key_length key_value_heads head_features"],
    value: Float[Array, "... key_length key_value_heads value_features"],
    mask: Bool[Array, "..."] | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    bias: Float[Array, "..."] | None = None,
    window: int | tuple[int, int] | None = None,
) -> Float[Array, "... length heads value_features"]:
    """Attention, `y = softmax(scale * query @ key.T + bias) @ value` for each head.

    The softmax is computed in float32 or more. On a GPU, in float16 and bfloat16 and without mask, bias and window, JAX's fused kernel
    runs.

    **Arguments:** `query` `(..., length, heads, head_features)`; `key` `(..., key_length, key_value_heads, head_features)`; `value`
    `(..., key_length, key_value_heads, value_features)`; the leading axes agree, any number of them. Fewer heads of keys
    and values (grouped-query attention) divide those of the queries; consecutive queries share one, as in PyTorch
    with `enable_gqa`. `mask`: boolean, True where a query may look at a key, with shape `(..., heads, length, key_length)` or one that
    broadcasts to it: sequences that are padded have `valid[..., None, None, :]`. `causal`: whether query `i` looks at the keys
    `0 ... i` only; together with a mask both hold. `scale`: `1 / sqrt(head_features)` by default. `bias`: real numbers of a shape like the
    mask's, added to the scores; where it is -inf, it masks. `window`: query `i` looks at the keys `i - window ... i + window` only, or, of
    a pair (before, after), `i - before ... i + after`; it holds beside the others.

    **Returns:** `(..., length, heads, value_features)`. A query that may look at no key gets zeros, and no gradient (PyTorch: NaN). What no
    query may look at leaves no trace, NaN included; a key or value that is not finite makes NaN of the queries that may look at it, alone.

    **Errors:** `ShapeError` for shapes that do not go together, heads that do not divide, and a mask that is not boolean; `LayerError`
    for a window that is none.

    **Source:** Vaswani et al. 2017; grouped queries: Ainslie et al. 2023.
    """
    check_heads(*map(jnp.shape, (query, key, value)))
    scale = 1.0 / math.sqrt(max(1, query.shape[-1])) if scale is None else scale
    check_window("attention", window)
    if bias is None and window is None and fused_applies(query, key, value, mask):

        def fused(query: Array, key: Array, value: Array) -> Array:
            return fused_attention(query, key, value, causal, scale)

        def plain(query: Array, key: Array, value: Array) -> Array:
            return _by_groups(query, key, value, mask, causal, scale)

        return jax.lax.platform_dependent(query, key, value, cuda=fused, default=plain)
    return _by_groups(query, key, value, mask, causal, scale, bias, window)


def _by_groups(
    query: Array,
    key: Array,
    value: Array,
    mask: Any,
    causal: bool,
    scale: float,
    bias: Any = None,
    window: Any = None,
) -> Array:
    *leading, length, heads, _ = query.shape
    key_length, groups = key.shape[-3:-1]
    allowed = allowed_pairs((*leading, heads, length, key_length), mask, causal, bias, window)
    if allowed is None:
        return weighted_values(attention_weights(query, key, None, scale, bias), value)
    # The heads that share keys and values, one after the other.
    rows = jnp.moveaxis(query, -2, -3).reshape(*leading, groups, heads // groups * length, -1)
    by_group = allowed.reshape(*leading, groups, heads // groups * length, key_length)
    rows, key, value, lost = without_unseen(rows, jnp.moveaxis(key, -2, -3), jnp.moveaxis(value, -2, -3), by_group)
    query = jnp.moveaxis(rows.reshape(*leading, heads, length, -1), -3, -2)
    key, value = (jnp.moveaxis(part, -3, -2) for part in (key, value))
    y = weighted_values(attention_weights(query, key, allowed, scale, bias), value)
    return jnp.where(jnp.moveaxis(lost.reshape(*leading, heads, length, 1), -3, -2), jnp.nan, y)


def without_unseen(
    query: Float[Array, "... length features"],
    key: Float[Array, "... key_length features"],
    value: Float[Array, "... key_length value_features"],
    allowed: Bool[Array, "... length key_length"],
) -> tuple[Array, Array, Array, Bool[Array, "... length 1"]]:
    """The three with 0 in place of what no pair that is allowed has, and of what is not finite; and the queries that this is wrong for.

    A weight of 0 does not take out what it multiplies if that is not finite, in values as in gradients.
    """
    looks, seen = jnp.any(allowed, axis=-1, keepdims=True), jnp.any(allowed, axis=-2)[..., None]
    sound, whole = _is_finite(query), _is_finite(key) & _is_finite(value)
    lost = looks & (~sound | jnp.any(allowed & ~jnp.swapaxes(whole, -1, -2), axis=-1, keepdims=True))
    return _kept(looks & sound, query), _kept(seen & whole, key), _kept(seen & whole, value), lost


def without_padding(
    x: Float[Array, "... length features"], allowed: Bool[Array, "... length length"]
) -> tuple[Array, Bool[Array, "... length 1"]]:
    """Tokens for self attention with 0 in place of those that none looks at and that look at none or are not finite; and where
    the latter is so, which spoils their own results alone."""
    looks, seen = jnp.any(allowed, axis=-1, keepdims=True), jnp.any(allowed, axis=-2)[..., None]
    sound = _is_finite(x)
    return _kept(seen | (looks & sound), x), looks & ~seen & ~sound


def _is_finite(x: Array) -> Array:
    return jnp.all(jnp.isfinite(x), axis=-1, keepdims=True)


def _kept(where: Array, x: Array) -> Array:
    return jnp.where(where, x, jnp.zeros((), x.dtype))


def attention_weights(query: Array, key: Array, allowed: Any, scale: float, bias: Any = None) -> Float[Array, "..."]:
    """How much each query takes of each key, `(..., heads, length, key_length)`, in the dtype of `query`."""
    *leading, length, heads, features = query.shape
    key_length, groups = key.shape[-3:-1]
    if key_length == 0:
        return jnp.zeros((*leading, heads, length, 0), query.dtype)
    # The queries are scaled, as they are fewer numbers than the scores. The heads of a group share its keys.
    grouped = jnp.moveaxis(scale * query, -2, -3).reshape(*leading, groups, heads // groups * length, features)
    wide = jnp.float32 if jnp.finfo(query.dtype).bits < 32 else query.dtype
    scores = jnp.matmul(grouped, jnp.moveaxis(key, -3, -1), preferred_element_type=wide)
    scores = scores.reshape(*leading, heads, length, key_length)
    if bias is not None:
        scores = scores + jnp.broadcast_to(jnp.where(jnp.isneginf(bias), 0, bias), scores.shape).astype(wide)
    if allowed is None:
        return jax.nn.softmax(scores).astype(query.dtype)
    weights = jax.nn.softmax(jnp.where(allowed, scores, float(jnp.finfo(wide).min)))
    return jnp.where(jnp.any(allowed, axis=-1, keepdims=True), weights, 0).astype(query.dtype)


def weighted_values(weights: Array, value: Array) -> Array:
    """The sums of values that the weights ask for, `(..., length, heads, value_features)`."""
    *leading, heads, length, key_length = weights.shape
    groups, features = value.shape[-2:]
    grouped = weights.reshape(*leading, groups, heads // groups * length, key_length)
    y = grouped @ jnp.moveaxis(value, -2, -3)
    return jnp.moveaxis(y.reshape(*leading, heads, length, features), -3, -2)


def allowed_pairs(
    shape: tuple[int, ...], mask: Any, causal: bool, bias: Any = None, window: Any = None
) -> Array | None:
    """Which query may look at which key, of `shape` `(..., heads, length, key_length)`; None if each may look at all.

    **Errors:** `ShapeError` for a mask, or a bias, that does not fit.
    """
    mask = None if mask is None else _checked_mask(mask, shape)
    if bias is not None:
        _check_shape("bias", bias, shape)
        unmasked = jnp.broadcast_to(~jnp.isneginf(bias), shape)
        mask = unmasked if mask is None else unmasked & jnp.broadcast_to(mask, shape)
    if mask is None and not causal and window is None:
        return None
    length, key_length = shape[-2:]
    allowed = jnp.tri(length, key_length, dtype=bool) if causal else jnp.ones((length, key_length), bool)
    if window is not None:
        before, after = window if isinstance(window, tuple) else (window, window)
        near = jnp.tri(length, key_length, after, dtype=bool) & ~jnp.tri(length, key_length, -before - 1, dtype=bool)
        allowed = allowed & near
    allowed = jnp.broadcast_to(allowed, shape)
    return allowed if mask is None else allowed & jnp.broadcast_to(mask, shape)


def check_window(name: str, window: Any) -> None:
    """Raises `LayerError` unless `window` is None, a number of positions or a pair of them."""
    pair = window if isinstance(window, tuple) else (window, window)
    if window is not None and (
        len(pair) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in pair)
    ):
        raise LayerError(
            f"{name}: window is a whole number, 0 or more, or a pair (before, after), got {window!r}; write None for all positions"
        )


def _checked_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    if jnp.result_type(mask) != jnp.bool_:
        raise ShapeError(
            f"attention: a mask is boolean, True where a query may look at a key, got {jnp.result_type(mask)}; write mask != 0, or "
            "bias=mask for what is added to the scores"
        )
    _check_shape("mask", mask, shape)
    return mask


def _check_shape(what: str, array: Any, shape: tuple[int, ...]) -> None:
    got = jnp.shape(array)
    if len(got) > len(shape) or any(a not in (1, b) for a, b in zip(got[::-1], shape[::-1], strict=False)):
        raise ShapeError(
            f"attention: the {what} has a shape that broadcasts to (..., heads, length, key_length), here {shape}, got {got}; "
            "for padded sequences, write valid[..., None, None, :]"
        )


def check_heads(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]) -> None:
    """Raises `ShapeError` unless query, key and value of these shapes go together."""
    if min(len(q), len(k), len(v)) < 3:
        raise ShapeError(
            f"attention: query, key and value are (..., length, heads, head_features), got {q}, {k} and {v}"
        )
    if q[:-3] != k[:-3] or k[:-1] != v[:-1] or q[-1] != k[-1]:
        raise ShapeError(
            f"attention: query, key and value of shapes {q}, {k} and {v} do not go together; all have the same leading axes, "
            "key and value the same length and heads, query and key the same features"
        )
    if k[-2] < 1 or q[-2] % k[-2]:
        raise ShapeError(
            f"attention: the heads of keys and values divide those of the queries, got {k[-2]} and {q[-2]}"
        )
