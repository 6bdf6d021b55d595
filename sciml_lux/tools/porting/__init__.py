"""Parameters from PyTorch and back."""

from ._convert import from_torch as from_torch
from ._convert import to_torch as to_torch
from ._port import Port as Port
from ._ports import register_torch_ports as register_torch_ports
