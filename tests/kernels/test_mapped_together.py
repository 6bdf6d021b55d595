"""What is run for all lanes together has the value and the derivatives, of any order and mapped in any way, of what runs alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from sciml_lux.kernels import with_batching_rule


def steps(p, y, number):
    """Steps of a size that depends on `y`, until `number` or the end is reached, and how many it took."""

    def step(carry):
        t, y, i = carry
        h = jnp.minimum(0.1 + 0.2 * y[0] ** 2, 1.0 - t)
        return t + h, y + h * jnp.sin(p * y), i + 1

    def goes_on(carry):
        return (carry[0] < 1.0) & (carry[2] < number)

    zero = jnp.zeros((), p.dtype)
    return lax.while_loop(goes_on, step, (zero, y, jnp.zeros((), jnp.int32)))[1:]


def ours(p, y, number):
    def together(size, is_mapped, *arrays):
        axes = [0 if mapped else None for mapped in is_mapped]
        return jax.vmap(steps, axes, axis_size=size)(*arrays), (True, True)

    return with_batching_rule(steps, together)(p, y, number)


P, Y, NUMBER = (
    jnp.array([0.3, 0.7]),
    jnp.array([[1.0, 0.5], [-2.0, -1.0], [0.1, 0.2]]),
    jnp.array([50, 2, 3], jnp.int32),
)
AXES = [(None, 0, None), (0, 0, None), (0, None, None), (None, 0, 0), (None, None, 0), (0, 0, 0)]


def given(axes):
    return (
        jnp.stack([P, 2 * P, -P]) if axes[0] == 0 else P,
        Y if axes[1] == 0 else Y[0],
        NUMBER if axes[2] == 0 else NUMBER[0],
    )


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_derivatives_of_lanes_are_those_of_each(axes):
    p, y, number = given(axes)

    def derivatives(function):
        def value(p, y):
            return jnp.sin(jax.vmap(function, axes, axis_size=3)(p, y, number)[0])

        along = jnp.cos(p), jnp.cos(y)
        first = lambda p, y: jax.jvp(value, (p, y), along)[1]  # noqa: E731
        second = lambda p, y: jax.jvp(first, (p, y), along)[1]  # noqa: E731
        only_p = jax.jacfwd(jax.jacfwd(value))(p, y)  # nothing that is mapped moves, in the first of the axes
        return jax.vmap(function, axes, axis_size=3)(p, y, number), first(p, y), second(p, y), only_p

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
        jax.jit(lambda: derivatives(ours))(),
        jax.jit(lambda: derivatives(steps))(),
    )


def test_it_runs_together_in_derivatives_as_well():
    seen = []

    def together(size, is_mapped, *arrays):
        seen.append(tuple(is_mapped))
        axes = [0 if mapped else None for mapped in is_mapped]
        return jax.vmap(steps, axes, axis_size=size)(*arrays), (True, True)

    function = with_batching_rule(steps, together)
    jax.jit(jax.jacfwd(lambda p: jax.vmap(lambda y: function(p, y, NUMBER[0])[0])(Y)))(P)
    assert seen
    assert all(mapped[1] for mapped in seen)  # whichever moves, the lanes are those of `y`
