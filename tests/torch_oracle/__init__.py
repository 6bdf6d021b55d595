"""Layers compared with PyTorch's: the cases, by family. Their figures are stored, so that PyTorch is needed only to record them."""

from . import linear, losses, normalization

FAMILIES = {
    "linear": linear.CASES,
    "losses": losses.CASES,
    "normalization": normalization.CASES,
}
