"""What to write where a problem of estimation is wrong."""

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux
from sciml_lux.estimation._curve_fit import _declare_bounds
from sciml_lux.estimation._evaluate import call_residual

from .specimens import PS, ST, TS, X


def least_squares(residual):
    return call_residual(residual, PS, ST, None)


CASES = [
    (
        "estimation/_curve_fit.py: write curve_fit(f, x, y, p0)",
        lambda: lux.estimation.curve_fit(3.0, TS, 2 * TS, (1.0,)),
        ({"curve_fit": lux.estimation.curve_fit, "f": lambda x, a: a * x, "x": TS, "y": 2 * TS, "p0": (1.0,)}, None),
    ),
    (
        "estimation/_curve_fit.py: write inf",
        lambda: _declare_bounds({"a": 1.0}, (0.0, np.nan)),
        lambda: _declare_bounds({"a": 1.0}, (0.0, np.inf)),
    ),
    (
        "estimation/_curve_fit.py: write one of the two",
        lambda: _declare_bounds({"a": lux.positive(1.0)}, (0.0, 5.0)),
        lambda: [_declare_bounds({"a": lux.positive(1.0)}, None), _declare_bounds({"a": 1.0}, (0.0, 5.0))],
    ),
    (
        "estimation/_evaluate.py: write `return r, st`",
        lambda: least_squares(lambda ps, st, data: ps.vector),
        lambda: least_squares(lambda ps, st, data: (ps.vector, st)),
    ),
    (
        "estimation/_evaluate.py: write `return model - data, st`",
        lambda: least_squares(lambda ps, st, data: (1.0, st)),
        lambda: least_squares(lambda ps, st, data: (ps.vector - 1.0, st)),
    ),
    (
        "estimation/_evaluate.py: write jnp.stack([r.real, r.imag])",
        lambda: least_squares(lambda ps, st, data: (jax.lax.complex(ps.vector, ps.vector), st)),
        lambda: least_squares(lambda ps, st, data: (jnp.stack([ps.vector, ps.vector]), st)),
    ),
    (
        "estimation/_least_squares.py: write ps, st = lux.setup(key, model)",
        lambda: lux.estimation.least_squares(lambda ps, st, data: (ps.vector, st), X, ST),
        lambda: lux.flatten.flatten({"rate": lux.positive(0.5)}),
    ),
]
