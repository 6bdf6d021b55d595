"""`TransformerEncoderBlock`: self attention and a feed-forward network, each with a residual connection."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from ...core import AbstractContainer, AbstractLayer, State
from ...flatten import Parameters
from .._checks import check_activation, check_flag, check_number, check_positive
from ..activations import gelu_exact
from ..linear import Dense
from ..noise import Dropout
from ..normalization import LayerNorm
from ._attention import allowed_pairs, without_padding
from ._multi_head import MultiHeadAttention


class TransformerEncoderBlock(AbstractContainer):
    """A block of a transformer's encoder: attention and a network of two layers, each normalized and added to its input.

        x = x + attention(attention_norm(x));  x = x + output(activation(hidden(feed_forward_norm(x))))     # norm_first
        x = attention_norm(x + attention(x));  x = feed_forward_norm(x + output(activation(hidden(x))))     # otherwise

    **Arguments:** `features`; `heads`; `hidden_features`: of the network, four times `features` by default; `activation`: exact GELU by
    default (`x * Φ(x)`; `jax.nn.gelu` is its approximation by tanh; PyTorch's default is relu); `norm_first`: whether to normalize
    before attention and network (as is usual; PyTorch's default, and the original paper's, is after); `dropout`: the probability
    in train mode, of the attention's weights, the network's hidden layer and both results; `causal`, `key_value_heads`,
    `position`, `use_bias`, `window`, `attention_bias`: as for `MultiHeadAttention`; `use_bias` is also that of the network and the
    norms; `epsilon`: of the norms.

    **Call:** `x` of shape `(..., length, features)` gives the same shape; `(x, mask)` with a mask as for `MultiHeadAttention`.

    **Parameters:** `attention`, `attention_norm`, `hidden`, `output`, `feed_forward_norm`: those of a `MultiHeadAttention`, a
    `LayerNorm`, two `Dense`, a `LayerNorm`. **States:** with dropout, those of its layers.

    **Errors:** as for `MultiHeadAttention`.

    **Source:** Vaswani et al. 2017; the norm before: Xiong et al. 2020.
    """

    features: int
    heads: int
    hidden_features: int | None = None
    activation: Callable[[Any], Any] = gelu_exact
    norm_first: bool = True
    dropout: float = 0.0
    causal: bool = False
    key_value_heads: int | None = None
    position: Callable[[Any], Any] | None = None
    use_bias: bool = True
    epsilon: float = 1e-5
    window: int | tuple[int, int] | None = None
    attention_bias: Callable[[int, int], Any] | None = None

    def __post_init__(self) -> None:
        check_positive(self, features=self.features, heads=self.heads)
        if self.hidden_features is not None:
            check_positive(self, hidden_features=self.hidden_features)
        check_activation(self, self.activation)
        check_flag(self, norm_first=self.norm_first, use_bias=self.use_bias)
        check_number(self, 0.0, 1.0, dropout=self.dropout)
        self.children()  # the parts refuse what is theirs

    def children(self) -> dict[str, AbstractLayer]:
        bias: dict[str, Any] = {"use_bias": self.use_bias}
        wide = 4 * self.features if self.hidden_features is None else self.hidden_features
        attention = MultiHeadAttention(
            self.features,
            self.heads,
            key_value_heads=self.key_value_heads,
            causal=self.causal,
            dropout=self.dropout,
            position=self.position,
            window=self.window,
            attention_bias=self.attention_bias,
            **bias,
        )
        layers: dict[str, AbstractLayer] = {
            "attention": attention,
            "attention_norm": LayerNorm(self.features, epsilon=self.epsilon, **bias),
            "hidden": Dense(self.features, wide, self.activation, **bias),
            "output": Dense(wide, self.features, **bias),
            "feed_forward_norm": LayerNorm(self.features, epsilon=self.epsilon, **bias),
        }
        dropped = ("attention_dropout", "hidden_dropout", "output_dropout") if self.dropout else ()
        return layers | {name: Dropout(self.dropout) for name in dropped}

    def __call__(self, x: Any, ps: Parameters, st: State) -> tuple[Array, State]:
        x, *mask = x if isinstance(x, tuple) else (x,)
        layers, states = self.children(), dict(st)
        lost = None
        if len(mask) == 1 and jnp.ndim(x) >= 2:
            shape = (*jnp.shape(x)[:-2], self.heads, *[jnp.shape(x)[-2]] * 2)
            allowed: Any = allowed_pairs(shape, mask[0], self.causal, window=self.window)
            x, lost = without_padding(
                x, jnp.any(allowed, axis=-3)
            )  # before what treats each token alone, and so takes no mask

        def run(name: str, x: Any) -> Any:
            if name not in layers:  # no dropout
                return x
            y, states[name] = layers[name](x, ps[name], st[name])
            return y

        def attend(x: Array) -> Array:
            return run("attention_dropout", run("attention", (x, *mask) if mask else x))

        def feed_forward(x: Array) -> Array:
            return run("output_dropout", run("output", run("hidden_dropout", run("hidden", x))))

        if self.norm_first:
            x = x + attend(run("attention_norm", x))
            x = x + feed_forward(run("feed_forward_norm", x))
        else:
            x = run("attention_norm", x + attend(x))
            x = run("feed_forward_norm", x + feed_forward(x))
        return (x if lost is None else jnp.where(lost, jnp.nan, x)), State(states)
