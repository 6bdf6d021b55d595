"""Activations: JAX's own, and four more that PyTorch has. Each takes an array and returns one of the same shape.

`gain` is what `init.gain` returns: the factor that makes up for how much an activation shrinks its input, for
`init.kaiming_normal(gain=...)`. PyTorch's table where it has an entry (marked *), elsewhere `1 / sqrt(E[f(z)^2])` for standard normal `z`
(He et al. 2015), which is the square root of 2 for relu.

    name           formula                                                      gain
    celu           x, below 0: alpha (exp(x / alpha) - 1), alpha = 1            1.2452
    elu            x, below 0: alpha (exp(x) - 1), alpha = 1                    1.2452
    gelu           x Φ(x), Φ by tanh; JAX's default                             1.5336
    gelu_exact     x Φ(x), Φ by erf; PyTorch's default                          1.5335
    hard_shrink    x where |x| > 0.5, else 0                                    1.0158
    hard_sigmoid   min(max(x + 3, 0), 6) / 6                                    1.8978
    hard_swish     x hard_sigmoid(x)                                            1.7367
    hard_tanh      min(max(x, -1), 1)                                           1.3920
    leaky_relu     x, below 0: negative_slope x, negative_slope = 0.01          1.4141*
    log_sigmoid    log(1 / (1 + exp(-x)))                                       1.0419
    mish           x tanh(softplus(x))                                          1.4868
    relu           max(x, 0)                                                    1.4142*
    relu6          min(max(x, 0), 6)                                            1.4142
    selu           1.0507 x, below 0: 1.7581 (exp(x) - 1)                       0.7500*
    sigmoid        1 / (1 + exp(-x))                                            1.0000*
    silu           x sigmoid(x), also called swish                              1.6765
    soft_shrink    sign(x) max(|x| - 0.5, 0)                                    1.5444
    soft_sign      x / (1 + |x|)                                                2.3375
    softplus       log(1 + exp(x))                                              1.0419
    sparse_plus    0 up to -1, (x + 1)^2 / 4 up to 1, x above                   1.3803
    squareplus     (x + sqrt(x^2 + b)) / 2, b = 4                               0.8165
    tanh           tanh(x)                                                      1.6667*
    tanh_shrink    x - tanh(x)                                                  2.3384

Over an axis, the last one by default: `glu` (the first half times the sigmoid of the second), `softmax`, `log_softmax`.
"""

from jax.nn import celu as celu
from jax.nn import elu as elu
from jax.nn import gelu as gelu
from jax.nn import glu as glu
from jax.nn import hard_sigmoid as hard_sigmoid
from jax.nn import hard_swish as hard_swish
from jax.nn import hard_tanh as hard_tanh
from jax.nn import leaky_relu as leaky_relu
from jax.nn import log_sigmoid as log_sigmoid
from jax.nn import log_softmax as log_softmax
from jax.nn import mish as mish
from jax.nn import relu as relu
from jax.nn import relu6 as relu6
from jax.nn import selu as selu
from jax.nn import sigmoid as sigmoid
from jax.nn import silu as silu
from jax.nn import soft_sign as soft_sign
from jax.nn import softmax as softmax
from jax.nn import softplus as softplus
from jax.nn import sparse_plus as sparse_plus
from jax.nn import squareplus as squareplus
from jax.nn import tanh as tanh

from ._more import gelu_exact as gelu_exact
from ._more import hard_shrink as hard_shrink
from ._more import soft_shrink as soft_shrink
from ._more import tanh_shrink as tanh_shrink
