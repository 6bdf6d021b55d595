"""Which arrays of which layers PyTorch has under which names."""

from collections.abc import Callable
from typing import Any

from ..._errors import LayerError
from ...core import AbstractLayer
from ...layers.attention import MultiHeadAttention, PatchEmbedding, TransformerEncoderBlock
from ...layers.convolution import Conv, ConvTranspose
from ...layers.linear import Bilinear, Dense, Embedding, PReLU
from ...layers.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, SpectralNorm, WeightNorm
from ...layers.recurrent import Bidirectional, GRUCell, LSTMCell, Recurrence, RNNCell
from ._attention import attention_ports, encoder_block_ports, patch_ports
from ._convolution import conv_ports, conv_transpose_ports
from ._normalization import normalization_ports, spectral_norm_ports, weight_norm_ports
from ._port import Port
from ._recurrent import bidirectional_ports, cell_ports, recurrence_ports

_PORTS: dict[type, Callable[[Any], tuple[Port, ...] | None]] = {}


def register_torch_ports(layer_type: type[AbstractLayer], ports: Callable[[Any], tuple[Port, ...] | None]) -> None:
    """Says how a layer type's arrays are called in PyTorch: `ports(layer)` lists one `Port` for each array.

    Subclasses inherit it. A container without ports, or for which `ports` returns None, is as good as the layers that it is made of.

    **Errors:** `LayerError` if `layer_type` is no layer type.
    """
    if not (isinstance(layer_type, type) and issubclass(layer_type, AbstractLayer)):
        raise LayerError(f"register_torch_ports takes a layer type, got {layer_type!r}")
    _PORTS[layer_type] = ports


def ports_of(layer: AbstractLayer) -> tuple[Port, ...] | None:
    """The ports of a layer, by its type or the nearest of its base classes, or None if there are none."""
    ports = next((_PORTS[base] for base in type(layer).__mro__ if base in _PORTS), None)
    return None if ports is None else ports(layer)


def weight_and_bias(layer: Any, *axes: int) -> tuple[Port, ...]:
    """`weight`, its axes in our order, and `bias` if the layer uses one."""
    weight = Port("weight", "weight", axes or None)
    return (weight, Port("bias", "bias")) if layer.use_bias else (weight,)


register_torch_ports(Dense, lambda layer: weight_and_bias(layer, 1, 0))
register_torch_ports(Bilinear, lambda layer: weight_and_bias(layer, 1, 2, 0))
register_torch_ports(Conv, conv_ports)
register_torch_ports(ConvTranspose, conv_transpose_ports)
for _with_weight in (Embedding, PReLU):
    register_torch_ports(_with_weight, lambda layer: (Port("weight", "weight"),))
for _normalizing in (BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm):
    register_torch_ports(_normalizing, normalization_ports)
register_torch_ports(WeightNorm, lambda wrapper: weight_norm_ports(wrapper, ports_of(wrapper.layer)))
register_torch_ports(SpectralNorm, lambda wrapper: spectral_norm_ports(wrapper, ports_of(wrapper.layer)))
for _cell in (RNNCell, LSTMCell, GRUCell):
    register_torch_ports(_cell, cell_ports)
register_torch_ports(Recurrence, recurrence_ports)
register_torch_ports(Bidirectional, bidirectional_ports)
register_torch_ports(MultiHeadAttention, attention_ports)
register_torch_ports(TransformerEncoderBlock, lambda layer: encoder_block_ports(layer, ports_of))
register_torch_ports(PatchEmbedding, patch_ports)
