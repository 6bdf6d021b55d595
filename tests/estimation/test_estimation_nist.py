"""Nonlinear-regression problems with certified answers (tests/data/nist_strd), from both starting points, with default settings."""

import math
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from sciml_lux import estimation

DATA = Path(__file__).parents[1] / "data" / "nist_strd"


def gauss(x, b1, b2, b3, b4, b5, b6, b7, b8):
    return b1 * jnp.exp(-b2 * x) + b3 * jnp.exp(-(((x - b4) / b5) ** 2)) + b6 * jnp.exp(-(((x - b7) / b8) ** 2))


def exponential_over_line(x, b1, b2, b3):
    return jnp.exp(-b1 * x) / (b2 + b3 * x)


MODELS = {
    "Misra1a": lambda x, b1, b2: b1 * (1 - jnp.exp(-b2 * x)),
    "Misra1b": lambda x, b1, b2: b1 * (1 - (1 + b2 * x / 2) ** -2),
    "Misra1c": lambda x, b1, b2: b1 * (1 - (1 + 2 * b2 * x) ** -0.5),
    "Misra1d": lambda x, b1, b2: b1 * b2 * x / (1 + b2 * x),
    "Chwirut1": exponential_over_line,
    "Chwirut2": exponential_over_line,
    "DanWood": lambda x, b1, b2: b1 * x**b2,
    "Gauss1": gauss,
    "Gauss2": gauss,
    "Lanczos3": lambda x, b1, b2, b3, b4, b5, b6: b1 * jnp.exp(-b2 * x) + b3 * jnp.exp(-b4 * x) + b5 * jnp.exp(-b6 * x),
    "Hahn1": lambda x, b1, b2, b3, b4, b5, b6, b7: (
        (b1 + b2 * x + b3 * x**2 + b4 * x**3) / (1 + b5 * x + b6 * x**2 + b7 * x**3)
    ),
    "Kirby2": lambda x, b1, b2, b3, b4, b5: (b1 + b2 * x + b3 * x**2) / (1 + b4 * x + b5 * x**2),
    "Nelson": lambda x, b1, b2, b3: b1 - b2 * x[0] * jnp.exp(-b3 * x[1]),  # of the logarithm of y
    "Roszman1": lambda x, b1, b2, b3, b4: b1 - b2 * x - jnp.arctan(b3 / (x - b4)) / math.pi,
}


def read(name):
    """`x, y`, the two starting points, certified values and standard deviations, residual standard deviation."""
    text = (DATA / f"{name}.dat").read_text()
    table = np.array([line.split("=")[1].split() for line in text.splitlines() if re.match(r" *b\d+ =", line)], float)
    columns = np.array([line.split() for line in text.rpartition("Data:")[2].splitlines()[1:] if line.strip()], float).T
    residual_std = float(re.search(r"Residual Standard Deviation: *(\S+)", text)[1])
    y = np.log(columns[0]) if name == "Nelson" else columns[0]
    x = columns[1] if len(columns) == 2 else columns[1:]
    return x, y, table.T[:2], table[:, 2], table[:, 3], residual_std


def digits(got, certified):
    """The number of correct significant digits of the worst element."""
    with np.errstate(divide="ignore"):
        return float(np.min(-np.log10(np.abs(np.asarray(got) - certified) / np.abs(certified))))


def test_every_file_has_a_model():
    assert {path.stem for path in DATA.glob("*.dat")} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_certified_values(name):
    x, y, starts, values, deviations, residual_std = read(name)
    for start in starts:
        result = estimation.curve_fit(MODELS[name], x, y, start)
        assert digits([*result.values.values()], values) >= 9
        assert digits([*result.stderr.values()], deviations) >= 8
        assert digits([result.residual_std], np.array([residual_std])) >= 8
        assert result.warnings == ()


def test_a_start_from_which_parameters_evaporate():
    # Osborne's first problem (1972), far from the solution: two exponentials that the first steps could make vanish for good.
    x = np.arange(0.0, 321.0, 10.0)
    text = """.844 .908 .932 .936 .925 .908 .881 .850 .818 .784 .751 .718 .685 .658 .628 .603 .580 .558 .538 .522 .506 .490
        .478 .467 .457 .448 .438 .431 .424 .420 .414 .411 .406"""
    y = np.array(text.split(), float)
    result = estimation.curve_fit(
        lambda x, a, b, c, d, e: a + b * jnp.exp(-d * x) + c * jnp.exp(-e * x), x, y, (50.0, 150.0, -100.0, 1.0, 2.0)
    )
    solution = [0.37541005211, 1.9358469127, -1.4646871366, 0.012867534640, 0.022122699662]
    assert digits([*result.values.values()], np.array(solution)) >= 9
