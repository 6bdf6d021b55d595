"""Normalizing layers over their options, shapes and both modes; wrappers that normalize weights."""

import jax.numpy as jnp

import sciml_lux as lux

from .case import Case, channels_first, channels_last, numbers

SPACES = [(5,), (3, 2), (2, 3, 2)]  # one to three dimensions

STATELESS = ("train",)  # these layers know no other mode

# epsilon, momentum, affine, tracked: each pair of values together in one of them.
STATISTICS = [
    (1e-5, 0.1, True, True),
    (0.1, 0.7, False, True),
    (0.1, 0.1, True, False),
    (1e-5, 0.7, False, False),
]


def contiguous_channels_last(y):
    """`channels_last`, with a gradient that PyTorch can be trusted with.

    From one whose strides are those of channels that come last, its InstanceNorm of a batch of one computes another gradient than
    from the same numbers in order (torch 2.13.0, CPU); finite differences agree with the latter.
    """
    if getattr(y, "requires_grad", False):
        y.register_hook(lambda gradient: gradient.contiguous())
    return channels_last(y)


def case(name, layer, module, shape, modes=("train", "test")):
    """A case whose channels come first in PyTorch, of numbers whose mean is not 0 and whose variance is not 1."""
    label = f"{name} {'x'.join(map(str, shape))}"
    return Case(label, layer, module, 2.0 + 3.0 * numbers(*shape), channels_first, contiguous_channels_last, modes)


def flags(**options):
    """The options that are on, and the numbers, for the name of a case."""
    return "".join(
        f" {name}" if value is True else f" {name} {value}" for name, value in options.items() if value is not False
    )


def batch_norm(batch, space, eps, momentum, affine, tracked):
    ours = {"affine": affine, "track_running_stats": tracked, "momentum": momentum}
    kind = f"BatchNorm{max(len(space), 1)}d"
    return case(
        f"{kind}{flags(eps=eps, momentum=momentum, affine=affine, tracked=tracked)}",
        lambda: lux.BatchNorm(3, epsilon=eps, **ours),
        lambda torch: getattr(torch.nn, kind)(3, eps=eps, **ours),
        (batch, *space, 3),
    )


def instance_norm(batch, space, eps, momentum, affine, tracked):
    ours = {"affine": affine, "track_running_stats": tracked, "momentum": momentum}
    kind = f"InstanceNorm{len(space)}d"
    return case(
        f"{kind}{flags(eps=eps, momentum=momentum, affine=affine, tracked=tracked)}",
        lambda: lux.InstanceNorm(3, len(space), epsilon=eps, **ours),
        lambda torch: getattr(torch.nn, kind)(3, eps=eps, **ours),
        (batch, *space, 3),
    )


def group_norm(batch, space, groups, eps, affine):
    return case(
        f"GroupNorm{flags(groups=groups, eps=eps, affine=affine)}",
        lambda: lux.GroupNorm(6, groups, len(space), epsilon=eps, affine=affine),
        lambda torch: torch.nn.GroupNorm(groups, 6, eps=eps, affine=affine),
        (batch, *space, 6),
        STATELESS,
    )


def layer_norm(batch, shape, eps, affine, use_bias):
    return Case(
        f"LayerNorm {batch} {shape}{flags(eps=eps, affine=affine, bias=use_bias)}",
        lambda: lux.LayerNorm(shape, epsilon=eps, affine=affine, use_bias=use_bias),
        lambda torch: torch.nn.LayerNorm(shape, eps=eps, elementwise_affine=affine, bias=use_bias),
        2.0 + 3.0 * numbers(*batch, *shape),
        modes=STATELESS,
    )


def rms_norm(batch, shape, eps, affine):
    return Case(
        f"RMSNorm {batch} {shape}{flags(eps=eps, affine=affine)}",
        lambda: lux.RMSNorm(shape, epsilon=eps, affine=affine),
        lambda torch: torch.nn.RMSNorm(shape, eps=eps, elementwise_affine=affine),
        2.0 + 3.0 * numbers(*batch, *shape),
        modes=STATELESS,
    )


def wrapped(name, ours, theirs, kernel=(), **options):
    """A wrapper around a dense layer, or a convolution with a window of that size."""
    if not kernel:
        layer, module = (lambda: lux.Dense(3, 5)), (lambda torch: torch.nn.Linear(3, 5))
    else:
        layer = lambda: lux.Conv(3, 5, kernel)  # noqa: E731
        module = lambda torch: getattr(torch.nn, f"Conv{len(kernel)}d")(3, 5, kernel)  # noqa: E731
    return Case(
        f"{name} {kernel}{flags(**options)}",
        lambda: ours(layer()),
        lambda torch: getattr(torch.nn.utils.parametrizations, theirs)(module(torch), **options),
        numbers(2, *(size + 1 for size in kernel), 3),
        channels_first,
        channels_last,
    )


def network():
    return lux.Chain(
        lux.Dense(3, 4),
        lux.BatchNorm(4, jnp.tanh),
        lux.Dropout(0.0),
        lux.LayerNorm(4, affine=False),
        lux.WeightNorm(lux.Dense(4, 2)),
        lux.LayerNorm(2),
    )


def module_of_network(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Linear(3, 4),
        nn.BatchNorm1d(4),
        nn.Tanh(),
        nn.Dropout(0.0),
        nn.LayerNorm(4, elementwise_affine=False),
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)),
        nn.LayerNorm(2),
    )


CASES = [
    *(batch_norm(4, space, *options) for space in [(), *SPACES] for options in STATISTICS),
    *(batch_norm(1, space, *STATISTICS[0]) for space in SPACES),
    Case(
        "BatchNorm1d without bias",
        lambda: lux.BatchNorm(3, use_bias=False),
        lambda torch: torch.nn.BatchNorm1d(3, bias=False),
        numbers(4, 3),
    ),
    *(instance_norm(3, space, *options) for space in SPACES for options in STATISTICS),
    *(instance_norm(1, space, *STATISTICS[0]) for space in SPACES),
    *(group_norm(3, space, groups, 1e-5, True) for space, groups in zip([(), *SPACES], (2, 1, 6, 2), strict=True)),
    *(group_norm(1, space, 3, 0.1, False) for space in [(), (3, 2)]),
    *(layer_norm(batch, (5,), 1e-5, True, True) for batch in ((), (1,), (2, 3))),
    *(layer_norm(batch, (3, 2), 0.1, True, False) for batch in ((), (1,), (2, 3))),
    layer_norm((2,), (2, 1, 3), 1e-5, False, True),
    *(rms_norm(batch, (5,), 1e-5, True) for batch in ((), (1,), (2, 3))),
    rms_norm((2,), (3, 2), 0.1, False),
    wrapped("WeightNorm", lux.WeightNorm, "weight_norm"),
    wrapped("WeightNorm", lux.WeightNorm, "weight_norm", (2, 3)),
    wrapped("SpectralNorm", lux.SpectralNorm, "spectral_norm"),
    wrapped("SpectralNorm", lambda layer: lux.SpectralNorm(layer, iterations=3), "spectral_norm", n_power_iterations=3),
    wrapped("SpectralNorm", lux.SpectralNorm, "spectral_norm", (2, 3)),
    Case("network", network, module_of_network, numbers(5, 3)),
]
