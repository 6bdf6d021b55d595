"""A script as users write it: it runs, and type checkers find nothing in it. `make lint` reads it."""

import jax
import jax.numpy as jnp
import optax

import sciml_lux as lux

model = lux.Chain(lux.Dense(2, 8, jnp.tanh), lux.Dense(8, 2))
ps, st = lux.setup(jax.random.key(0), model)
x = jnp.ones((4, 2))

y, st = model(x, ps, st)
y, st = model(x, ps.params, st)
y, _ = lux.Dense(8, 2)(jnp.tanh(x @ ps.layer_0.weight + ps.layer_0.bias), ps.params.layer_1, st["layer_1"])
first: jax.Array = ps["layer_0.weight"]
halved = ps.replace(0.5 * ps.vector)
moved = ps.set("layer_1.bias", jnp.ones(2))


class Affine(lux.AbstractLayer):
    """A layer of the user's own, annotated."""

    features: int

    def initial_parameters(self, key: jax.Array) -> dict[str, jax.Array]:
        return {"slope": jnp.ones(self.features)}

    def __call__(self, x: jax.Array, ps: lux.Parameters, st: lux.State) -> tuple[jax.Array, lux.State]:
        return ps.slope * x, st


affine = Affine(2)
affine_ps, affine_st = lux.setup(jax.random.key(1), affine)
y, _ = affine(x, affine_ps, affine_st)


def loss(ps: lux.FlatParams, st: lux.State, batch: jax.Array) -> tuple[jax.Array, lux.State]:
    y, st = model(batch, ps, st)
    return jnp.mean((y - batch[:, ::-1]) ** 2), st


gradient = jax.grad(lambda ps: loss(ps, st, x)[0])(ps)
fitted = lux.fit(loss, ps, st, optax.adam(1e-2), steps=20, data=x, progress=False)
y, _ = model(x, fitted.ps, lux.test_mode(fitted.st))

node = lux.NeuralODE(model, t0=0.0, t1=1.0, rtol=1e-6, atol=1e-6)
node_ps, node_st = lux.setup(jax.random.key(0), node)
y1, _ = node(x[0], node_ps, node_st)
solution, _ = node.solve(x[0], node_ps, node_st, ts=jnp.linspace(0.0, 1.0, 5))

rates = lux.ParameterDict(alpha=lux.positive(0.5), beta=lux.bounded(0.1, 0.0, 1.0))
rates_ps, rates_st = lux.setup(jax.random.key(0), rates)
alpha: jax.Array = rates_ps.alpha
