"""What PyTorch calls the arrays of convolutions."""

from typing import Any

from ._port import Port


def conv_ports(layer: Any) -> tuple[Port, ...]:
    """Those of a `Conv`, whose weight is `(out, in // groups, *kernel)` in PyTorch."""
    return _ports(layer, 1, 0)


def conv_transpose_ports(layer: Any) -> tuple[Port, ...]:
    """Those of a `ConvTranspose`, whose weight is `(in, out // groups, *kernel)` in PyTorch."""
    return _ports(layer, 0, 1)


def _ports(layer: Any, *channels: int) -> tuple[Port, ...]:
    weight = Port("weight", "weight", (*range(2, 2 + len(layer.kernel_size)), *channels))
    return (weight, Port("bias", "bias")) if layer.use_bias else (weight,)
