"""Layers that normalize their input, and wrappers that normalize a layer's weights."""

from ._batch_norm import BatchNorm as BatchNorm
from ._group_norm import GroupNorm as GroupNorm
from ._group_norm import InstanceNorm as InstanceNorm
from ._layer_norm import LayerNorm as LayerNorm
from ._layer_norm import RMSNorm as RMSNorm
from ._spectral_norm import SpectralNorm as SpectralNorm
from ._weight_norm import WeightNorm as WeightNorm
