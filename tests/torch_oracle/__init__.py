"""Layers compared with PyTorch's: the cases, by family. Their figures are stored, so that PyTorch is needed only to record them."""

from . import linear

FAMILIES = {
    "linear": linear.CASES,
}
