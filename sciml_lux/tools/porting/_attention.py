"""Where the arrays of attention stand in PyTorch."""

from typing import Any

from ..._errors import LayerError
from ._port import Port


def attention_ports(layer: Any) -> tuple[Port, ...]:
    """Those of `nn.MultiheadAttention`, which stores the three projections of equal size in one tensor, and others apart."""
    if layer.key_value_heads not in (None, layer.heads):
        raise LayerError("MultiHeadAttention: PyTorch's has as many heads of keys and values as of queries")
    together = layer.context_features in (None, layer.features)
    names, ports = ("query", "key", "value"), []
    for i, name in enumerate(names):
        if together:
            ports.append(Port("in_proj_weight", f"{name}.weight", (1, 0), part=(i, 3)))
        else:
            ports.append(Port(f"{name[0]}_proj_weight", f"{name}.weight", (1, 0)))
    ports.append(Port("out_proj.weight", "output.weight", (1, 0)))
    if layer.use_bias:
        ports += [Port("in_proj_bias", f"{name}.bias", part=(i, 3)) for i, name in enumerate(names)]
        ports.append(Port("out_proj.bias", "output.bias"))
    return tuple(ports)


# PyTorch's names of the parts of nn.TransformerEncoderLayer.
_PARTS = {
    "attention": "self_attn",
    "hidden": "linear1",
    "output": "linear2",
    "attention_norm": "norm1",
    "feed_forward_norm": "norm2",
}


def encoder_block_ports(layer: Any, ports_of: Any) -> tuple[Port, ...]:
    """Those of `nn.TransformerEncoderLayer`; `ports_of`: gives those of a part."""
    children = layer.children()
    return tuple(port.below(theirs, ours) for ours, theirs in _PARTS.items() for port in ports_of(children[ours]))


def patch_ports(layer: Any) -> tuple[Port, ...]:
    """Those of `nn.Conv2d` with a stride equal to its window."""
    weight = Port("weight", "weight", (2, 3, 1, 0))
    return (weight, Port("bias", "bias")) if layer.use_bias else (weight,)
