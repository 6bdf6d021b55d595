"""Initializers: how the parameters of a layer start. Each is a value, compared by its settings: `init(key, shape) -> array`.

For a weight of shape `(..., in, out)` with `k` further elements in front (a convolution's window), `fan_in = k * in` and
`fan_out = k * out`.
"""

from ._initializers import AbstractInitializer as AbstractInitializer
from ._initializers import fans as fans
from ._initializers import gain as gain
from ._initializers import glorot_normal as glorot_normal
from ._initializers import glorot_uniform as glorot_uniform
from ._initializers import kaiming_normal as kaiming_normal
from ._initializers import kaiming_uniform as kaiming_uniform
from ._initializers import normal as normal
from ._initializers import ones as ones
from ._initializers import zeros as zeros
