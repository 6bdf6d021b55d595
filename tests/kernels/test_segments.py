"""Cutting a vector and joining it: exact for any number of segments, also where cuts share kernels, and linear in every sense."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml_lux.kernels._segments import concatenate, split

FEW, MANY, EMPTY_ONES = (3, 2), (4, 1) * 20, (2, 0, 3) * 8


def vector_for(sizes):
    return jax.random.normal(jax.random.key(0), (sum(sizes),))


@pytest.mark.parametrize("sizes", [FEW, MANY, EMPTY_ONES])
@pytest.mark.parametrize("compiled", [False, True])
def test_split_is_numpys_split_and_concatenate_undoes_it(sizes, compiled):
    vector = vector_for(sizes)
    cut = (lambda v: split(v, sizes)) if not compiled else jax.jit(lambda v: split(v, sizes))
    segments = cut(vector)
    for got, expected in zip(segments, np.split(np.asarray(vector), np.cumsum(sizes)[:-1]), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(concatenate(segments), vector)


@pytest.mark.parametrize("first", [jnp.nan, jnp.inf, -jnp.inf])
def test_the_offsets_do_not_depend_on_the_numbers(first):
    vector = vector_for(MANY).at[0].set(first)
    segments = jax.jit(lambda v: split(v, MANY))(vector)
    np.testing.assert_array_equal(np.concatenate(segments), vector)


@pytest.mark.parametrize("sizes", [FEW, MANY])
def test_derivatives_are_those_of_a_linear_map(sizes):
    vector, weights = vector_for(sizes), [jnp.full(size, float(i + 1)) for i, size in enumerate(sizes)]

    def weighted(v):
        return sum(jnp.sum(w * s) for w, s in zip(weights, split(v, sizes), strict=True))

    expected = np.concatenate(weights)
    np.testing.assert_array_equal(jax.jit(jax.grad(weighted))(vector), expected)
    np.testing.assert_array_equal(jax.grad(jax.jit(weighted))(vector), expected)
    np.testing.assert_allclose(jax.jvp(weighted, (vector,), (vector,))[1], expected @ np.asarray(vector))
    np.testing.assert_array_equal(jax.jacfwd(weighted)(vector), expected)
    np.testing.assert_array_equal(jax.hessian(weighted)(vector), np.zeros((vector.size, vector.size)))


def test_leading_axes_are_a_batch():
    batch = jnp.stack([vector_for(MANY), 2 * vector_for(MANY)])
    direct, mapped = split(batch, MANY), jax.vmap(lambda v: split(v, MANY))(batch)
    for one, other, single in zip(direct, mapped, split(batch[1], MANY), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one[1], single)
    np.testing.assert_array_equal(concatenate(direct), batch)


def test_the_gradient_of_a_split_is_one_concatenate_and_nothing_padded():
    text = str(jax.make_jaxpr(jax.grad(lambda v: sum(jnp.sum(jnp.sin(s)) for s in split(v, MANY))))(vector_for(MANY)))
    assert text.count("concatenate[") == 1
    assert "pad[" not in text
    assert "dynamic_update_slice" not in text


def test_equal_segments_share_their_kernels():
    """The reason for the indirect offsets: what is compiled does not grow with the number of segments of one length."""

    def kernels(number):
        text = jax.jit(lambda v: split(v, (4,) * number)).lower(jnp.zeros(4 * number)).compile().as_text()
        assert "dynamic-slice" in text
        return text.count(" slice={")

    assert kernels(40) == kernels(80)
