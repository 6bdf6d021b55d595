"""What several test files need: bits of arrays, random trees of parameters, finite differences, counted traces, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import sciml_lux as lux


def bits(tree) -> list[tuple[tuple[int, ...], str, bytes]]:
    """What tells two trees of arrays apart down to signed zeros and the payload of a NaN."""
    leaves = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in jax.tree.leaves(tree)]
    arrays = [np.asarray(leaf) for leaf in leaves]
    return [(array.shape, str(array.dtype), array.tobytes()) for array in arrays]


def is_key(leaf) -> bool:
    return jnp.issubdtype(getattr(leaf, "dtype", float), jax.dtypes.prng_key)


def assert_close(got, expected, rtol=1e-12):
    """Two trees of one structure, with keys that are equal and numbers that are so to `rtol`."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for pair in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        one, other = (jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in pair)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol)


def random_bits(seed: int, shape: tuple[int, ...], dtype) -> np.ndarray:
    """An array of any bits at all: infinities, NaNs, subnormal numbers."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=int)) * dtype.itemsize
    return np.frombuffer(np.random.default_rng(seed).bytes(count), dtype).reshape(shape)


dtypes = st.sampled_from([jnp.float32, jnp.float64, jnp.bfloat16])

# Few names, some of which sort differently as numbers and as strings.
names = st.sampled_from(["layer_9", "layer_10", "weight", "bias", "B", "a", "_z", "0"])
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


def trees_of(leaves):
    """Nested mappings of names to `leaves`, the empty ones included."""
    grow = lambda children: st.lists(st.tuples(names, children), max_size=4, unique_by=lambda pair: pair[0]).map(dict)  # noqa: E731
    return grow(st.recursive(leaves, grow, max_leaves=8))


def fill(shape_tree, seed: int, dtype):
    """Arrays of random bits in place of the shapes of a tree."""
    count = iter(range(seed, seed + 1000))
    return jax.tree.map(
        lambda shape: random_bits(next(count), shape, dtype), shape_tree, is_leaf=lambda node: isinstance(node, tuple)
    )


def directional_difference(function, point, direction, step: float = 1e-6) -> float:
    """The central difference of a scalar function of one array."""
    # NumPy's arithmetic compiles nothing.
    point, change = np.asarray(point), step * np.asarray(direction)
    after, before = (float(function(jnp.asarray(moved))) for moved in (point + change, point - change))
    return (after - before) / (2 * step)


class Counted:
    """A function that counts how often JAX traces it."""

    def __init__(self, function) -> None:
        self.function, self.traces = function, 0

    def __call__(self, *args):
        self.traces += 1
        return self.function(*args)


def message_of(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


def refused(function, kind, *parts):
    """Asserts that `function()` raises `kind`, which is a LuxError, with all `parts` in its message and notes."""
    with pytest.raises(kind) as caught:
        function()
    assert isinstance(caught.value, lux.LuxError)
    text = message_of(caught.value)
    for part in parts:
        assert part in text, text
    return text


def setup(layer, **options):
    return lux.setup(jax.random.key(0), layer, **options)


def call(layer, x, ps=None):
    """What a layer gives, with the state of its setup and its parameters unless others are given."""
    start, st = setup(layer)
    return layer(x, start if ps is None else ps, st)[0]
