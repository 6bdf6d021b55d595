"""`BatchNorm`."""

import math
from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float, Key

from ..._errors import ShapeError
from ...core import AbstractLayer, State
from ...flatten import Parameters
from ...kernels import widened
from .. import init
from .._checks import check_last_axis, check_number, check_positive
from ._running import advanced, by_running, initial_running
from ._statistics import Over, affine_parameters, check_options, finished, moments


class BatchNorm(AbstractLayer):
    """Each channel normalized over everything else, `y = activation((x - mean) / sqrt(var + epsilon) * weight + bias)`.

    In train mode `mean` and `var` are those of the batch, over all axes but the last, with the biased variance (divided by the
    number `n` of samples). The state follows them,
    `running = (1 - momentum) * running + momentum * new`, with the **unbiased** variance (divided by `n - 1`): both as in PyTorch,
    while Flax and Keras store the biased one and call `1 - momentum` the momentum. In test mode the running statistics are used.
    Mapped over with `jax.vmap`, each batch has statistics of its own.

    **Arguments:** `features`: number of channels; `activation`: an elementwise function, or None; `epsilon`; `momentum`: the
    share of the new statistics, 0 to 1; `affine`: whether to scale and shift; `use_bias`: whether to shift;
    `track_running_stats`: without, the batch's statistics are used in both modes; `init_weight`, `init_bias`: ones and zeros.

    **Call:** `x` of shape `(..., features)` gives the same shape. Statistics are computed in float32 at least.

    **Parameters:** if `affine`: `weight` `(features,)`; `bias` `(features,)` if `use_bias`.

    **States:** if `track_running_stats`: `running_mean` `(features,)`, `running_var` `(features,)`, `training`. A variance too large for
    its dtype gives NaN in test mode.

    **Errors:** `LayerError` for arguments that cannot be; `ShapeError` for another last axis, and where the batch's statistics are
    used and it has fewer than two samples.

    **Source:** Ioffe and Szegedy 2015, Batch Normalization.
    """

    features: int
    activation: Callable[[Any], Any] | None = None
    epsilon: float = 1e-5
    momentum: float = 0.1
    affine: bool = True
    use_bias: bool = True
    track_running_stats: bool = True
    init_weight: Callable[..., Any] = init.ones()
    init_bias: Callable[..., Any] = init.zeros()

    def __post_init__(self) -> None:
        check_positive(self, features=self.features)
        check_number(self, 0.0, 1.0, momentum=self.momentum)
        check_options(self)

    def initial_parameters(self, key: Key[Array, ""]) -> dict[str, Any]:
        return affine_parameters(self, key, (self.features,))

    def initial_states(self, key: Key[Array, ""]) -> dict[str, Any]:
        return initial_running(self)

    def __call__(
        self, x: Float[Array, "... features"], ps: Parameters, st: State
    ) -> tuple[Float[Array, "... features"], State]:
        check_last_axis(self, x, self.features)
        if self.track_running_stats and not st.training:
            return by_running(self, x, ps, st), st
        samples = math.prod(x.shape[:-1])
        if isinstance(samples, int) and samples < 2:  # what is exported may have a batch of any size
            raise ShapeError(
                f"BatchNorm takes statistics from a batch of at least 2 samples, got an input of shape {x.shape}, which has {samples}; "
                "give it a larger batch, or judge the model in lux.test_mode(st)"
            )
        deviation, rest, inverse_std, mean, var = moments(widened(x), Over(tuple(range(x.ndim - 1))), self.epsilon)
        y = finished(self, deviation, rest, inverse_std, ps, x.dtype)
        if not self.track_running_stats:
            return y, st
        unbiased = var.reshape(-1) * (samples / (samples - 1))
        return y, advanced(st, self.momentum, mean.reshape(-1), unbiased)
