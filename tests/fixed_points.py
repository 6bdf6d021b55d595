"""The solvers of fixed points that several test files go through."""

import functools
import warnings

import pytest

from sciml_lux.solvers import Anderson, Broyden, Damped, NewtonKrylov

SOLVERS = {
    "Anderson": Anderson,
    "Anderson I": functools.partial(Anderson, kind=1),
    "Anderson, safeguard": functools.partial(Anderson, safeguard=2.0, restart=8),
    "Damped": Damped,
    "Broyden": Broyden,
    "Broyden, bad": functools.partial(Broyden, kind="bad"),
    "NewtonKrylov": NewtonKrylov,
}
VARIANTS = ("Anderson I", "Anderson, safeguard", "Damped", "Broyden, bad", "NewtonKrylov")


def solvers(*slow):
    """Every solver; those named only where there is time."""
    marks = {name: [pytest.mark.slow] for name in slow}
    return pytest.mark.parametrize(
        "make", [pytest.param(make, id=name, marks=marks.get(name, [])) for name, make in SOLVERS.items()]
    )


every_solver = solvers(*VARIANTS)


@pytest.fixture
def complex_is_supported():
    """By these solvers; optimistix warns that it is not by all of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Complex support in Optimistix")
        yield
