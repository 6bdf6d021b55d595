"""What every adapter promises, whatever it solves: the whole solution, its outcome in the state, failures that say so, samples apart."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, bits, refused
from members import LAYERS

import sciml_lux as lux
from sciml_lux.core import with_fields
from sciml_lux.solvers import AbstractAdapter

ADAPTERS = [member for member in LAYERS if isinstance(member.make(), AbstractAdapter)]
QUICK = {"NeuralODE", "NeuralODE of three samples", "HybridODE", "DeepEquilibrium"}  # one of each kind


def of(members):
    parameters = [pytest.param(member, marks=[pytest.mark.slow] * (member.name not in QUICK)) for member in members]
    return pytest.mark.parametrize("member", parameters, ids=[member.name for member in members])


def has_samples(member):
    """Whether its input is several samples, each of which is solved for by itself."""
    layer = member.make()
    apart = layer.batched if isinstance(layer, lux.DeepEquilibrium) else layer.batching == "each"
    return apart and all(leaf.ndim > 1 and len(leaf) > 1 for leaf in jax.tree.leaves(member.x))


every_adapter = of(ADAPTERS)


@jax.jit
def solved(layer, x, ps, st):
    return layer.solve(x, ps, st)


@jax.jit
def called(layer, x, ps, st):
    return layer(x, ps, st)


def made(member, key):
    layer = with_fields(member.make(), throw=False)
    ps, st = lux.setup(key, layer)
    if not all(jnp.size(leaf) for leaf in jax.tree.leaves(st)):
        _, st = called(layer, member.x, ps, st)
    return layer, ps, st


def succeeded(layer, st):
    """Before the first solve the state says so."""
    return bits(st.solution.result) == bits(lux.setup(jax.random.key(0), layer)[1].solution.result)


def test_every_public_adapter_is_a_member():
    public = {value for value in vars(lux.solvers).values() if inspect.isclass(value)}
    adapters = {cls for cls in public if issubclass(cls, AbstractAdapter) and not cls.__name__.startswith("Abstract")}
    assert adapters == {type(member.make()) for member in ADAPTERS}


@every_adapter
def test_a_call_is_the_end_of_the_whole_solution_and_its_outcome_is_in_the_state(member, key):
    layer, ps, st = made(member, key)
    (y, after), (solution, also) = called(layer, member.x, ps, st), solved(layer, member.x, ps, st)
    assert_close((y, after), (layer.final(solution), also), rtol=1e-10)
    assert succeeded(layer, after)
    assert np.all(np.asarray(after.solution.num_steps) > 0)
    assert layer.choose_adjoint(member.x, ps, st).reason in str(layer.choose_adjoint(member.x, ps, st))


@every_adapter
def test_a_solve_that_fails_is_nan_and_says_so_or_raises(member, key, unchecked):
    layer, ps, st = made(member, key)
    broken = ps.replace(jnp.full_like(ps.vector, jnp.nan))
    y, after = called(layer, member.x, broken, st)
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(y))
    assert not succeeded(layer, after)
    raising = with_fields(layer, throw=True)
    refused(lambda: raising(member.x, broken, st), lux.SolveError, type(layer).__name__)


@of([member for member in ADAPTERS if has_samples(member)])
def test_a_sample_that_fails_leaves_the_others_as_they_are(member, key):
    layer, ps, st = made(member, key)
    spoiled = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), member.x)
    (whole, _), (y, _) = called(layer, member.x, ps, st), called(layer, spoiled, ps, st)
    assert all(np.isnan(leaf[1]).all() for leaf in jax.tree.leaves(y))
    others = lambda tree: jax.tree.map(lambda leaf: jnp.delete(leaf, 1, axis=0), tree)  # noqa: E731
    if isinstance(layer, lux.solvers.ContinuousDEQ):  # whose samples share the steps in time
        assert_close(others(y), others(whole), rtol=layer.rtol)
    else:
        assert bits(others(y)) == bits(others(whole))
