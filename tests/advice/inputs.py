"""What to write where a layer is given what it does not take."""

import jax.numpy as jnp

import sciml_lux as lux

from .specimens import DENSE, PAIR, PS, ST, Tensor, X, called, run


def rows(*lengths):
    return [[1.0] * length for length in lengths]


CASES = [
    (
        "core/_inputs.py: write jnp.asarray({})",
        lambda: called(DENSE, [1.0, 2.0]),
        ({"x": [1.0, 2.0]}, lambda x: run(DENSE, x)),
    ),
    (
        "core/_inputs.py: write jnp.asarray({}, float)",
        lambda: called(DENSE, [1, 2]),
        ({"x": [1, 2]}, lambda x: run(DENSE, x)),
    ),
    (
        "core/_inputs.py: write jnp.asarray({})",
        lambda: called(lux.Chain(DENSE), rows(2, 1)),
        lambda: run(DENSE, jnp.asarray(rows(2, 2))),
    ),
    (
        "core/_inputs.py: write jnp.asarray({}.detach",
        lambda: called(DENSE, Tensor([1.0, 2.0])),
        ({"x": Tensor([1.0, 2.0])}, lambda x: run(DENSE, x)),
    ),
    (
        "core/_inputs.py: write jnp.zeros(...)",
        lambda: called(lux.Chain(lambda x: None, DENSE), X),
        lambda: run(DENSE, jnp.zeros(2)),
    ),
    (
        "core/_inputs.py: write y, st = layer(x, ps, st)",
        lambda: called(DENSE, DENSE(X, PS, ST)),
        lambda: run(DENSE, DENSE(X, PS, ST)[0]),
    ),
    (
        'core/_inputs.py: write lux.Chain(lambda x: x["{}"], {})',
        lambda: called(DENSE, {"u": X}),
        ({"Dense": lux.Dense}, lambda layer: run(layer, {"u": X})),
    ),
    (
        "core/_inputs.py: write lux.Chain(jnp.stack, {})",
        lambda: called(DENSE, (jnp.ones(()), jnp.ones(()))),
        ({"Dense": lux.Dense}, lambda layer: run(layer, (jnp.ones(()), jnp.ones(())))),
    ),
    (
        "core/_inputs.py: write lux.Chain(jnp.hstack, {})",
        lambda: called(DENSE, (jnp.ones(()), jnp.ones(1))),
        ({"Dense": lux.Dense}, lambda layer: run(layer, (jnp.ones(()), jnp.ones(1)))),
    ),
    (
        "core/_inputs.py: write lux.Chain(lambda x: x[-1], {})",
        lambda: called(DENSE, (jnp.ones(()), jnp.ones((3, 2)))),
        ({"Dense": lux.Dense}, lambda layer: run(layer, (jnp.ones(()), jnp.ones((3, 2))))),
    ),
    (
        "core/_inputs.py: write lux.Chain(lambda x: jnp.concatenate(x, axis=-1), {})",
        lambda: run(lux.DeepEquilibrium(lux.Dense(4, 2)), X),
        ({"Dense": lux.Dense}, lambda layer: run(lux.DeepEquilibrium(layer), X)),
    ),
    (
        "core/_inputs.py: write lux.Chain(lambda x: jnp.concatenate(x, axis=-1), {})",
        lambda: run(lux.HamiltonianODE(lux.Dense(4, 1)), PAIR),
        ({"Dense": lux.Dense}, lambda layer: run(lux.HamiltonianODE(layer), PAIR)),
    ),
    (
        "layers/_checks.py: write x[None] for one number",
        lambda: run(lux.Dense(1, 2), jnp.ones(())),
        lambda: run(lux.Dense(1, 2), jnp.ones(())[None]),
    ),
    (
        "layers/_checks.py: write jnp.moveaxis(x, {}, -1)",
        lambda: run(DENSE, jnp.ones((2, 5))),
        ({"x": jnp.ones((2, 5))}, lambda x: run(DENSE, x)),
    ),
    (
        "layers/_checks.py: write mask != 0",
        lambda: run(lux.Recurrence(lux.LSTMCell(2, 2)), (jnp.ones((3, 2)), jnp.ones(3))),
        lambda: run(lux.Recurrence(lux.LSTMCell(2, 2)), (jnp.ones((3, 2)), jnp.ones(3) != 0)),
    ),
]
