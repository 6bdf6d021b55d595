"""Models with an equilibrium, and what dense linear algebra says of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

import sciml_lux as lux


class Linear(lux.AbstractLayer):
    """`z A + x`, whose equilibrium is `x (I - A)^-1`. `radius`: the largest singular value of `A`."""

    size: int
    radius: float = 0.7

    def initial_parameters(self, key):
        matrix = np.random.default_rng(self.size).normal(size=(self.size, self.size))
        return {"matrix": jnp.asarray(self.radius * matrix / np.linalg.norm(matrix, 2))}

    def __call__(self, z_and_x, ps, st):
        z, x = z_and_x
        return z @ ps.matrix.astype(z.dtype) + x, st


class Tanh(lux.AbstractLayer):
    """`tanh(z W + x U + b)`."""

    size: int
    radius: float = 0.7

    def initial_parameters(self, key):
        draws = np.random.default_rng(self.size).normal(size=(2, self.size, self.size)) / self.size**0.5
        weight, bias = self.radius * draws[0] / np.linalg.norm(draws[0], 2), np.linspace(-0.2, 0.3, self.size)
        return {"weight": jnp.asarray(weight), "inputs": jnp.asarray(draws[1]), "bias": jnp.asarray(bias)}

    def __call__(self, z_and_x, ps, st):
        z, x = z_and_x
        bias = ps.bias.reshape((1,) * (z.ndim - 1) + (-1,))
        return jnp.tanh(z @ ps.weight + x @ ps.inputs + bias), st


def samples(number, size, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(number, size)))


def tight():
    """A solver that compiles fast, for what does not depend on the solver."""
    return optx.FixedPointIteration(rtol=1e-14, atol=1e-14)


@jax.jit
def dense_gradient(cell, x, ps, g):
    """For each sample `x`: `z*`, by Newton's method; and the sum of `g (I - J)^-1 df/dp` in the parameters, and each in `x`, all by dense
    matrices."""

    def one(x, g):
        f = lambda z, x, vector: cell((z, x), ps.replace(vector), lux.State({}))[0]  # noqa: E731
        eye = jnp.eye(x.size)

        def newton(_, z):
            return z + jnp.linalg.solve(eye - jax.jacobian(f)(z, x, ps.vector), f(z, x, ps.vector) - z)

        z = jax.lax.fori_loop(0, 15, newton, jnp.zeros_like(x))
        jz, jx, jp = jax.jacobian(f, argnums=(0, 1, 2))(z, x, ps.vector)
        u = jnp.linalg.solve(eye - jz.T, g)
        return z, u @ jx, u @ jp

    z, in_x, in_ps = jax.vmap(one)(x, g)
    return z, in_x, jnp.sum(in_ps, axis=0)


@functools.partial(jax.jit, static_argnames="argument")
def jacobians(cell, z, x, ps, argument=0):
    """The Jacobian of each sample, in `z` or in `x`."""
    one = lambda z, x: cell((z, x), ps, lux.State({}))[0]  # noqa: E731
    return jax.vmap(jax.jacobian(one, argnums=argument))(z, x)


@jax.jit
def gradients(deq, ps, st, x, g):
    """The equilibrium, and the gradients of `sum(g z*)` in `x` and in the parameters."""
    z, pull = jax.vjp(lambda ps, x: deq(x, ps, st)[0], ps, x)
    in_ps, in_x = pull(g)
    return z, in_x, in_ps.vector
