"""What to write where a problem of estimation is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix

import sciml_lux as lux
from sciml_lux.estimation import curve_fit
from sciml_lux.estimation._bounds import limits_of
from sciml_lux.estimation._coordinates import coordinates_of
from sciml_lux.estimation._evaluate import call_residual
from sciml_lux.estimation._least_squares import _check_solver, _coordinates
from sciml_lux.estimation._loss import Loss

from .specimens import PS, ST, TS, X


def least_squares(residual):
    return call_residual(residual, PS, ST, None)


BOUNDS, PLAIN = ({"a": 0.0}, {"a": 5.0}), lux.flatten.flatten({"a": 1.0})
LINE = {"curve_fit": curve_fit, "f": lambda x, a: a * x, "x": TS, "y": 2 * TS, "p0": (1.0,)}
SOLVER = lux.solvers.LevenbergMarquardt()

CASES = [
    (
        "estimation/_curve.py: write curve_fit(f, x, y, p0)",
        lambda: curve_fit(3.0, TS, 2 * TS, (1.0,)),
        (LINE, None),
    ),
    (
        "estimation/_curve.py: write curve_fit(f, x, y, p0) without jac",
        lambda: curve_fit(LINE["f"], TS, 2 * TS, (1.0,), jac="2-point"),
        lambda: curve_fit(LINE["f"], TS, 2 * TS, (1.0,)),
    ),
    (
        "estimation/_curve.py: write jnp.stack([...], axis=-1)",
        lambda: curve_fit(LINE["f"], TS, 2 * TS, (1.0,), jac=lambda x, a: x),
        lambda: curve_fit(LINE["f"], TS, 2 * TS, (1.0,), jac=lambda x, a: jnp.stack([x], axis=-1)),
    ),
    (
        'estimation/_confidence.py: write method="wald"',
        lambda: curve_fit(LINE["f"], TS, 2 * TS, (1.0,), loss="huber").conf_interval(method="f-test"),
        lambda: curve_fit(LINE["f"], TS, 2 * TS, (1.0,), loss="huber").conf_interval(method="wald"),
    ),
    (
        "estimation/_least_squares.py: write solver=None",
        lambda: _check_solver(optimistix.Dogleg(1e-6, 1e-6), Loss("huber")),
        lambda: _check_solver(SOLVER, Loss("huber")),
    ),
    (
        "estimation/_curve_fit.py: write p0, a starting value for each",
        lambda: curve_fit(lambda x, *p: p[0] * x, TS, 2 * TS),
        lambda: curve_fit(lambda x, *p: p[0] * x, TS, 2 * TS, (1.0,)),
    ),
    (
        "estimation/_bounds.py: write inf",
        lambda: limits_of("upper", np.nan, ["a"]),
        lambda: limits_of("upper", np.inf, ["a"]),
    ),
    (
        "estimation/_coordinates.py: write inf",
        lambda: coordinates_of(({"a": np.nan}, {}), PLAIN),
        lambda: coordinates_of(({"a": -np.inf}, {}), PLAIN),
    ),
    (
        "estimation/_least_squares.py: write solver=None, or no bounds",
        lambda: _coordinates(BOUNDS, PLAIN, optimistix.Dogleg(1e-6, 1e-6)),
        lambda: [_coordinates(BOUNDS, PLAIN, SOLVER), _coordinates(None, PLAIN, optimistix.Dogleg(1e-6, 1e-6))],
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
