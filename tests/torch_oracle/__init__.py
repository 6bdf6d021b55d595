"""Layers compared with PyTorch's: the cases, by family. Their figures are stored, so that PyTorch is needed only to record them."""

from . import activations, attention, containers, convolution, linear, losses, normalization, recurrent

FAMILIES = {
    "activations": activations.CASES,
    "attention": attention.CASES,
    "containers": containers.CASES,
    "convolution": convolution.CASES,
    "linear": linear.CASES,
    "losses": losses.CASES,
    "normalization": normalization.CASES,
    "recurrent": recurrent.CASES,
}
