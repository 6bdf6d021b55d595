"""Activations: JAX's functions under the names by which PyTorch has them."""

from collections.abc import Callable
from typing import Any

import sciml_lux as lux
from sciml_lux.layers import activations

from .case import Case, numbers


def case(name: str, theirs: str, **options: Any) -> Case:
    """Our activation `name` and `torch.nn.functional.theirs` with `options`."""

    def module(torch: Any) -> Callable[[Any], Any]:
        return lambda x: getattr(torch.nn.functional, theirs)(x, **options)

    # From where they are curved to where they are nearly flat.
    return Case(
        name, lambda: lux.WrappedFunction(getattr(activations, name)), module, 3.0 * numbers(5, 6), modes=("test",)
    )


CASES = [
    case("celu", "celu"),
    case("elu", "elu"),
    case("gelu", "gelu", approximate="tanh"),
    case("gelu_exact", "gelu"),
    case("glu", "glu", dim=-1),
    case("hard_shrink", "hardshrink"),
    # PyTorch's own hardsigmoid multiplies its gradient by 1/6 in single precision.
    Case(
        "hard_sigmoid",
        lambda: lux.WrappedFunction(activations.hard_sigmoid),
        lambda torch: lambda x: torch.nn.functional.relu6(x + 3) / 6,
        3.0 * numbers(5, 6),
        modes=("test",),
    ),
    case("hard_swish", "hardswish"),
    case("hard_tanh", "hardtanh"),
    case("leaky_relu", "leaky_relu"),
    case("log_sigmoid", "logsigmoid"),
    case("log_softmax", "log_softmax", dim=-1),
    case("mish", "mish"),
    case("relu", "relu"),
    case("relu6", "relu6"),
    case("selu", "selu"),
    case("sigmoid", "sigmoid"),
    case("silu", "silu"),
    case("soft_shrink", "softshrink"),
    case("soft_sign", "softsign"),
    case("softmax", "softmax", dim=-1),
    case("softplus", "softplus"),
    case("tanh", "tanh"),
    case("tanh_shrink", "tanhshrink"),
]
