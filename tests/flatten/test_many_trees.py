"""Thousands of random trees with every ravel map in them."""

import itertools

import jax
import numpy as np
import pytest
from helpers import bits, trees_of
from hypothesis import given, settings
from hypothesis import strategies as st
from members import RAVEL_MAPS

import sciml_lux as lux
from sciml_lux.flatten import (
    ComplexAsReals,
    Fixed,
    LowRank,
    Parameter,
    Real,
    Symmetric,
    Transposed,
    Triangular,
    UnitVector,
    flatten,
)

STRUCTURAL = (Real, Fixed, Symmetric, Triangular, Transposed, ComplexAsReals)  # these compute nothing
SEVERAL_STORED = (LowRank, UnitVector)  # several segments show one value
members = st.sampled_from(RAVEL_MAPS)
TREES = itertools.count()


def check(tree):
    """The view shows what was declared, and what it shows is stored as it was."""
    tree = lux.Params(tree)  # which keeps its order under jax.tree.map, as a dict does not
    declared = jax.tree.map(lambda member: Parameter(member.value, member.ravel_map), tree, is_leaf=is_member)
    flat = flatten(declared)
    chosen = list(jax.tree.leaves(tree, is_leaf=is_member))
    for entry, member in zip(flat.layout.entries, chosen, strict=True):
        shown = flat[entry.path]
        if isinstance(member.ravel_map, STRUCTURAL):
            assert bits(shown) == bits(member.value)
        for got, expected in zip(jax.tree.leaves(shown), jax.tree.leaves(member.value), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
    again = flat.layout.ravel(flat.params)
    for entry in flat.layout.entries:
        before, after = (vector[entry.offset : entry.offset + entry.size] for vector in (flat.vector, again))
        if isinstance(entry.ravel_map, STRUCTURAL):
            assert bits(before) == bits(after)
        elif not isinstance(entry.ravel_map, SEVERAL_STORED):
            np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9)


def is_member(node) -> bool:
    return hasattr(node, "ravel_map")


@settings(max_examples=12)
@given(trees_of(members))
def test_random_trees_with_every_map(tree):
    check(tree)


@pytest.mark.slow
@settings(max_examples=3000)
@given(trees_of(members))
def test_thousands_of_random_trees_with_every_map(tree):
    # Each is several programs, of which a process can hold only so many.
    if next(TREES) % 100 == 0:
        jax.clear_caches()
    check(tree)
