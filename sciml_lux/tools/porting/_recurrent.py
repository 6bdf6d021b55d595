"""Where the arrays of recurrent layers stand in PyTorch."""

from typing import Any

from ..._errors import LayerError
from ._port import Port


def cell_ports(cell: Any, ours: str = "", suffix: str = "") -> tuple[Port, ...]:
    """The ports of a cell below `ours`; `suffix` follows PyTorch's names, as in `weight_ih_l0`. Gates have the same order in both."""
    if getattr(cell, "reset_before", False):
        raise LayerError(
            "PyTorch's GRU resets after the product with weight_hidden, another function of the same arrays; "
            "write GRUCell(..., reset_before=False)"
        )
    before = f"{ours}." if ours else ""
    weights = [("weight_ih", "weight_input"), ("weight_hh", "weight_hidden")]
    biases = [("bias_ih", "bias_input"), ("bias_hh", "bias_hidden")] if cell.use_bias else []
    return (
        *(Port(f"{torch}{suffix}", f"{before}{name}", (1, 0)) for torch, name in weights),
        *(Port(f"{torch}{suffix}", f"{before}{name}") for torch, name in biases),
    )


def recurrence_ports(layer: Any) -> tuple[Port, ...] | None:
    """Those of a `Recurrence`, which PyTorch calls the layer 0 of an `RNN`, `LSTM` or `GRU`; None for a cell that it lacks."""
    return cell_ports(layer.cell, "cell", "_l0") if hasattr(layer.cell, "use_bias") else None


def bidirectional_ports(layer: Any) -> tuple[Port, ...] | None:
    """Those of a `Bidirectional`; None for cells that PyTorch lacks."""
    if not all(hasattr(cell, "use_bias") for cell in (layer.forward, layer.backward)):
        return None
    return (
        *cell_ports(layer.forward, "forward", "_l0"),
        *cell_ports(layer.backward, "backward", "_l0_reverse"),
    )
