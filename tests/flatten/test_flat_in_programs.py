"""The vector within larger programs: loops, shards, a thousand entries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec

import sciml_lux as lux
from sciml_lux.flatten import flatten

MODEL = lux.Chain(*[lux.Dense(4, 4, jnp.tanh) for _ in range(10)])  # 20 entries: more than are cut one by one


@pytest.fixture(name="setup", scope="module")
def parameters_and_state():
    return lux.setup(jax.random.key(0), MODEL)


def hand_written(params, x):
    for layer in params:
        x = x @ layer["weight"]
        x = jnp.tanh(x + jnp.broadcast_to(layer["bias"], x.shape))
    return x


def separate(ps):
    return [dict(ps.params[f"layer_{i}"]) for i in range(10)]


def test_inside_scan_and_while_loop(setup):
    ps, st = setup
    x = jnp.linspace(-1.0, 1.0, 4)

    def scanned(ps):
        return lax.scan(lambda x, _: (MODEL(x, ps, st)[0], None), x, length=3)[0]

    def looped(ps):
        return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, MODEL(c[1], ps, st)[0]), (0, x))[1]

    expected = x
    for _ in range(3):
        expected = hand_written(separate(ps), expected)
    np.testing.assert_allclose(jax.jit(scanned)(ps), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(looped)(ps), expected, rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda ps: jnp.sum(scanned(ps))))(ps)
    step = 1e-6 * jnp.ones(ps.layout.size).at[::2].set(-1e-6)
    difference = (jnp.sum(scanned(ps.replace(ps.vector + step))) - jnp.sum(scanned(ps.replace(ps.vector - step)))) / 2
    np.testing.assert_allclose(gradient.vector @ step, difference, rtol=1e-5)


def test_unravelling_outside_a_loop_copies_nothing_within(setup):
    """What the loop needs beside its carry does not grow with the number of iterations, and one copy of the vector serves it."""
    ps, st = setup

    def memory(iterations):
        def run(ps, x):
            params = ps.params
            return lax.fori_loop(0, iterations, lambda _, x: MODEL(x, params, st)[0], x)

        compiled = jax.jit(run).lower(ps, jnp.ones(4)).compile()
        body = [line for line in compiled.as_text().splitlines() if "dynamic-slice(" in line or " slice(" in line]
        return compiled.memory_analysis().temp_size_in_bytes, len(body)

    few, many = memory(2), memory(200)
    assert few == many
    assert many[0] < 3 * ps.vector.nbytes


def test_inside_shard_map(setup):
    ps, st = setup
    mesh = Mesh(np.array(jax.devices()[:1]), ("batch",))
    x = jnp.linspace(-1.0, 1.0, 8).reshape(2, 4)
    replicated, sharded = PartitionSpec(), PartitionSpec("batch")

    def forward(ps, x):
        return MODEL(x, ps, st)[0]

    mapped = jax.shard_map(forward, mesh=mesh, in_specs=(replicated, sharded), out_specs=sharded)
    np.testing.assert_allclose(jax.jit(mapped)(ps, x), hand_written(separate(ps), x), rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda ps: jnp.sum(mapped(ps, x))))(ps)
    expected = jax.grad(lambda params: jnp.sum(hand_written(params, x)))(separate(ps))
    np.testing.assert_allclose(gradient["layer_3.weight"], expected[3]["weight"], rtol=1e-10)


@pytest.mark.slow
def test_a_thousand_entries():
    tree = {f"entry_{i}": jnp.full((i % 3,), float(i)) for i in range(1000)}
    ps = flatten(tree)
    assert len(ps.layout) == 1000
    unravelled = jax.jit(lambda ps: ps.params)(ps)
    for name, value in tree.items():
        np.testing.assert_array_equal(unravelled[name], value)
    gradient = jax.jit(jax.grad(lambda ps: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(ps.params))))(ps)
    np.testing.assert_array_equal(gradient.vector, 2 * ps.vector)


def test_vmap_of_vmap(setup):
    ps, st = setup
    batch = ps.replace(jnp.stack([jnp.stack([ps.vector * (i + j) for i in range(2)]) for j in range(3)]))
    x = jnp.ones(4)
    mapped = jax.jit(jax.vmap(jax.vmap(lambda ps: MODEL(x, ps, st)[0])))(batch)
    np.testing.assert_allclose(mapped[2, 1], MODEL(x, ps.replace(3 * ps.vector), st)[0], rtol=1e-12)
    np.testing.assert_array_equal(batch["layer_0.weight"][2, 1], 3 * ps["layer_0.weight"])
