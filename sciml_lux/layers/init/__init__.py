"""Initializers: how the parameters of a layer start. Each is a value, compared by its settings: `init(key, shape) -> array`.

For a weight of shape `(..., in, out)` with `k` further elements in front (a convolution's window), `fan_in = k * in` and
`fan_out = k * out`. Each says the variance of what it returns.
"""

from ._constants import constant as constant
from ._constants import identity as identity
from ._constants import ones as ones
from ._constants import zeros as zeros
from ._fans import fans as fans
from ._gain import gain as gain
from ._initializer import AbstractInitializer as AbstractInitializer
from ._orthogonal import orthogonal as orthogonal
from ._random import normal as normal
from ._random import sparse as sparse
from ._random import truncated_normal as truncated_normal
from ._random import uniform as uniform
from ._scaled import glorot_normal as glorot_normal
from ._scaled import glorot_uniform as glorot_uniform
from ._scaled import kaiming_normal as kaiming_normal
from ._scaled import kaiming_uniform as kaiming_uniform
from ._scaled import lecun_normal as lecun_normal
from ._scaled import lecun_uniform as lecun_uniform
