"""What PyTorch calls the arrays of normalizing layers."""

from typing import Any

from ..._errors import LayerError
from ._port import Port


def normalization_ports(layer: Any) -> tuple[Port, ...]:
    """Those of a layer with an affine map and running statistics, as far as it has them."""
    names = ["weight"] if layer.affine else []
    if layer.affine and getattr(layer, "use_bias", False):
        names.append("bias")
    running = ("running_mean", "running_var") if getattr(layer, "track_running_stats", False) else ()
    return (*(Port(name, name) for name in names), *(Port(name, name, state=True) for name in running))


def weight_norm_ports(wrapper: Any, ports: tuple[Port, ...] | None) -> tuple[Port, ...]:
    """Those of a `WeightNorm` of a layer with `ports`: PyTorch's `parametrizations.weight_norm` stores magnitude, then direction."""
    found: list[Port] = []
    for port, named in _inner(wrapper, ports):
        below, theirs = f"layer.{port.ours}", f"parametrizations.{port.torch}"
        if not named:
            found.append(Port(port.torch, below, port.axes, port.part, port.state))
            continue
        found.append(Port(f"{theirs}.original0", f"{below}.magnitude", port.axes))
        found.append(Port(f"{theirs}.original1", f"{below}.direction", port.axes))
    return tuple(found)


def spectral_norm_ports(wrapper: Any, ports: tuple[Port, ...] | None) -> tuple[Port, ...]:
    """Those of a `SpectralNorm` of a layer with `ports`, as PyTorch's `parametrizations.spectral_norm` stores them."""
    found: list[Port] = []
    for port, named in _inner(wrapper, ports):
        below, theirs = f"layer.{port.ours}", f"parametrizations.{port.torch}"
        if not named:
            found.append(Port(port.torch, below, port.axes, port.part, port.state))
            continue
        found.append(Port(f"{theirs}.original", below, port.axes))
        found.append(Port(f"{theirs}.0._u", f"vectors.{port.ours}.left", state=True))
        found.append(Port(f"{theirs}.0._v", f"vectors.{port.ours}.right", state=True))
    return tuple(found)


def _inner(wrapper: Any, ports: tuple[Port, ...] | None) -> list[tuple[Port, bool]]:
    """The ports of the wrapped layer, each with whether the wrapper normalizes it."""
    kind = type(wrapper).__name__
    if ports is None:
        raise LayerError(
            f"{kind}: PyTorch normalizes one layer at a time, got {type(wrapper.layer).__name__}; write {kind}(...) around each"
        )
    for port in ports:
        alike = port.axes is not None and port.axes[:-2] == tuple(range(2, len(port.axes))) and port.part == (0, 1)
        if port.ours in wrapper.names and not alike:
            raise LayerError(
                f"{kind}: PyTorch's norm of {port.torch} is another one than ours of {port.ours}, as its axes are ordered otherwise"
            )
    return [(port, port.ours in wrapper.names) for port in ports]
