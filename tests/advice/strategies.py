"""What to write where a strategy of training, or its data, are wrong."""

import functools

import jax
import numpy as np
from helpers import setup

import sciml_lux as lux
from sciml_lux.training import strategies

from .specimens import DENSE, DRUG, KEY, NODE, PS, SGD, ST, TS, YS, X, called, run, squares

SHOOTING = strategies.MultipleShooting(NODE, 2, 2)
WHOLE = {"windows": strategies.windows, "series": strategies.series, "ts": TS, "ys": YS}

CASES = [
    (
        "training/strategies/_checks.py: write order = np.argsort(ts)",
        lambda: strategies.series(TS[[1, 0, 2, 3, 4]], YS),
        lambda: strategies.series(*((ts := TS[[1, 0, 2, 3, 4]])[order := np.argsort(ts)], YS[order])),
    ),
    (
        "training/strategies/_checks.py: write np.stack([ys.real, ys.imag]",
        lambda: strategies.series(TS, YS * 1j),
        ({"ys": YS * 1j}, lambda ys: strategies.series(TS, ys)),
    ),
    (
        "training/strategies/_checks.py: write NaN",
        lambda: strategies.series(TS, YS * [1.0, np.inf]),
        lambda: strategies.series(TS, np.array([[1.0, np.nan]] * 5), y0=X),
    ),
    (
        "training/strategies/_series.py: write series(ts, ys)",
        lambda: strategies.windows((TS, YS), 3),
        ({"series": strategies.series, "ts": TS, "ys": YS}, lambda whole: strategies.windows(whole, 3)),
    ),
    (
        "training/strategies/_series.py: write inf",
        lambda: strategies.series(TS, YS, doses=([np.nan], YS[:1])),
        lambda: strategies.series(TS, YS, doses=([np.inf], YS[:1])),
    ),
    (
        "training/strategies/_ensemble.py: write lux.setup_batch(key, layer, members)",
        lambda: strategies.fit_ensemble(squares, PS, ST, SGD, steps=1),
        lambda: strategies.fit_ensemble(squares, *lux.setup_batch(KEY, DENSE, 2), SGD, steps=1),
    ),
    (
        "training/strategies/_augmented_lagrangian.py: write ShootingLoss",
        lambda: strategies.fit_augmented_lagrangian(squares, PS, ST, SGD, steps=1, data=None),
        lambda: strategies.ShootingLoss(strategies.MultipleShooting(NODE, 2, 2)),
    ),
    (
        "training/strategies/_multiple_shooting.py: write windows(series(ts, ys), length)",
        lambda: called(SHOOTING, X),
        ({**WHOLE, "length": 3}, lambda data: run(SHOOTING, data)),
    ),
    (
        "training/strategies/_multiple_shooting.py: write windows(series(ts, ys), length)",
        lambda: SHOOTING.start_from(setup(SHOOTING)[0], X),
        ({**WHOLE, "length": 3}, lambda data: SHOOTING.start_from(setup(SHOOTING)[0], data)),
    ),
    (
        "training/strategies/_multiple_shooting.py: write windows(series(ts, ys), length), without stride",
        lambda: called(SHOOTING, strategies.windows(strategies.series(TS[:4], YS[:4]), 3, stride=1)),
        ({**WHOLE, "length": 3}, lambda data: run(SHOOTING, data)),
    ),
    (
        "training/strategies/_multiple_shooting.py: write MultipleShooting(node, segments, *shape)",
        lambda: called(strategies.MultipleShooting(NODE, 2, 3), strategies.windows(strategies.series(TS, YS), 3)),
        (
            {"MultipleShooting": strategies.MultipleShooting, "node": NODE, "segments": 2, "shape": (2,)},
            lambda layer: run(layer, strategies.windows(strategies.series(TS, YS), 3)),
        ),
    ),
    (
        "training/strategies/_solve_series.py: write solve=functools.partial",
        lambda: strategies.TrajectoryLoss(DRUG, solve=lambda y0, ps, st, ts, t0: None)(
            *setup(DRUG), strategies.series(TS, YS)
        ),
        lambda: jax.eval_shape(
            lambda: strategies.TrajectoryLoss(
                DRUG, solve=functools.partial(DRUG.solve, doses=(np.array([0.1]), np.ones((1, 2))))
            )(*setup(DRUG), strategies.series(TS, YS))[0]
        ),
    ),
]
