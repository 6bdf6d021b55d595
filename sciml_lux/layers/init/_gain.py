"""How much an activation shrinks a signal."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .. import activations

_GAINS: dict[Any, float] = {
    # PyTorch's table
    activations.relu: math.sqrt(2.0),
    activations.selu: 0.75,
    activations.sigmoid: 1.0,
    activations.tanh: 5.0 / 3.0,
    jnp.tanh: 5.0 / 3.0,
    # 1 / sqrt(E[f(z)^2]), z standard normal, by quadrature; the test computes them again
    activations.celu: 1.2451983007242766,
    activations.elu: 1.2451983007242766,
    activations.gelu: 1.533580521695176,
    activations.gelu_exact: 1.5335304412245632,
    activations.hard_shrink: 1.015796354719734,
    activations.hard_sigmoid: 1.8978404247654408,
    activations.hard_swish: 1.7366572127991247,
    activations.hard_tanh: 1.392036140463781,
    activations.log_sigmoid: 1.0418668355550231,
    activations.mish: 1.4868475813013524,
    activations.relu6: 1.414213565121843,
    activations.silu: 1.676532470362826,
    activations.soft_shrink: 1.5443605283093667,
    activations.soft_sign: 2.337533363152786,
    activations.softplus: 1.0418668355550231,
    activations.sparse_plus: 1.3803368628849386,
    activations.squareplus: math.sqrt(2.0 / 3.0),
    activations.tanh_shrink: 2.338367530146384,
    jnp.sin: math.sqrt(2.0 / (1.0 - math.exp(-2.0))),
    jnp.cos: math.sqrt(2.0 / (1.0 + math.exp(-2.0))),
}


def gain(activation: Callable[..., Any] | None, negative_slope: float = 0.01) -> float:
    """The factor by which `activation` shrinks a signal, to be made up for by its weights.

        init.kaiming_normal(gain=init.gain(jax.nn.gelu))

    That of `torch.nn.init.calculate_gain` where it has one: relu: sqrt(2); leaky_relu: sqrt(2 / (1 + negative_slope^2)); tanh: 5/3;
    selu: 3/4; sigmoid and no activation: 1. For JAX's other ones, `1 / sqrt(E[f(z)^2])` with standard normal `z`, which keeps
    the mean square of a signal from layer to layer (He et al. 2015, equation 8, for any activation). The table is in `activations`.
    Functions that neither names: 1.
    """
    if activation is activations.leaky_relu:
        return math.sqrt(2.0 / (1.0 + negative_slope**2))
    return _GAINS.get(activation, 1.0)
