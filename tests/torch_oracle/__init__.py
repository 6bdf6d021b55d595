"""Layers compared with PyTorch's: the cases, by family. Their figures are stored, so that PyTorch is needed only to record them."""

from . import activations, linear, losses, normalization, recurrent

FAMILIES = {
    "activations": activations.CASES,
    "linear": linear.CASES,
    "losses": losses.CASES,
    "normalization": normalization.CASES,
    "recurrent": recurrent.CASES,
}
