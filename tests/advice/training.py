"""What to write where a loss, a fit or its data are wrong."""

import jax.numpy as jnp
import numpy as np
import optax

import sciml_lux as lux
from sciml_lux.training import losses

from .specimens import DENSE, PS, SGD, ST, X, squares


def mean_square(ps, st, batch):
    x, y = batch
    prediction, st = DENSE(x, ps, st)
    return jnp.mean((prediction - y) ** 2), st


def fit(loss, **given):
    return lux.fit(loss, PS, ST, SGD, steps=1, **given)


CASES = [
    (
        "training/losses/_evaluate.py: write y, st = layer(x, ps, st)",
        lambda: losses.squared_error(DENSE(X, PS, ST), X),
        lambda: losses.squared_error(DENSE(X, PS, ST)[0], X),
    ),
    (
        "training/losses/_evaluate.py: write jnp.stack(rows)",
        lambda: losses.squared_error([jnp.ones(2), jnp.ones(1)], X),
        lambda: losses.squared_error(jnp.stack([jnp.ones(2)]), X[None]),
    ),
    (
        "training/losses/_evaluate.py: write targets.reshape",
        lambda: losses.squared_error(X, X[:, None]),
        lambda: [
            losses.squared_error(X, X[:, None].reshape(2)),
            losses.squared_error(X, jnp.broadcast_to(1.0, X.shape)),
        ],
    ),
    (
        "training/losses/_evaluate.py: write mask != 0",
        lambda: losses.squared_error(X, X, mask=X),
        lambda: losses.squared_error(X, X, mask=X != 0),
    ),
    (
        "training/losses/_evaluate.py: write jnp.broadcast_to({}[..., None]",
        lambda: losses.squared_error(jnp.ones((2, 3)), jnp.ones((2, 3)), weights=X),
        ({"weights": X}, lambda weights: losses.squared_error(jnp.ones((2, 3)), jnp.ones((2, 3)), weights=weights)),
    ),
    (
        "training/losses/_classification.py: write jnp.where(targets, 1.0, -1.0)",
        lambda: losses.hinge(X, X > 0),
        ({"targets": X > 0}, lambda targets: losses.hinge(X, targets)),
    ),
    (
        "training/_optimizers.py: write optax.contrib.sam(..., opaque_mode=True)",
        lambda: lux.fit(
            lambda ps, st, batch: (jnp.sum(ps.vector**2), st),
            PS,
            ST,
            optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1)),
            steps=1,
        ),
        lambda: optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1), opaque_mode=True),
    ),
    (
        "training/_loss.py: write\n\n    def loss",
        lambda: fit(DENSE),
        lambda: lux.fit(mean_square, PS, ST, SGD, steps=1, data=(jnp.ones((3, 2)), jnp.ones((3, 2)))),
    ),
    ("training/_loss.py: write def loss(ps, st, batch)", lambda: fit(lambda ps, st: 0.0), lambda: fit(squares)),
    ("training/_loss.py: write `return value, st`", lambda: fit(lambda ps, st, batch: None), lambda: fit(squares)),
    (
        "training/_loss.py: write jnp.mean(...) or jnp.sum(...)",
        lambda: fit(lambda ps, st, batch: (ps.vector, st)),
        lambda: fit(squares),
    ),
    (
        "training/_batches.py: write np.asarray(...)",
        lambda: fit(squares, data={"x": X, "name": "a"}),
        lambda: fit(squares, data={"x": np.asarray([1.0, 2.0])}),
    ),
]
