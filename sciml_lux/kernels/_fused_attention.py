"""JAX's fused attention, where it applies: it neither stores the weights nor computes the masked half of causal ones."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def fused_applies(query: Any, key: Any, value: Any, mask: Any) -> bool:
    """Whether cuDNN's kernel takes these: half precision, compute capability 8, and sizes that it knows forward and backward."""
    if jax.default_backend() != "gpu" or mask is not None or query.dtype not in (jnp.bfloat16, jnp.float16):
        return False
    capability = float(getattr(jax.local_devices()[0], "compute_capability", 0))
    features, lengths = query.shape[-1], (query.shape[-3], key.shape[-3])
    known = features % 8 == 0 and 8 <= features <= 128 and value.shape[-1] == features
    return capability >= 8.0 and known and all(length > 1 and length % 2 == 0 for length in lengths)


def fused_attention(query: Array, key: Array, value: Array, causal: bool, scale: float) -> Array:
    """`scaled_dot_product_attention` by cuDNN."""
    flat = (x.reshape(-1, *x.shape[-3:]) for x in (query, key, value))
    y = jax.nn.dot_product_attention(*flat, scale=scale, is_causal=causal, implementation="cudnn")
    return y.reshape(query.shape)
