"""Layers on several devices: what they compute there is what they compute on one, or it is refused."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from helpers import message_of
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from members import LAYERS
from on_devices import LARGER, NUMBER, Case, mesh_of

import sciml_lux as lux
from sciml_lux.kernels import carried
from sciml_lux.kernels._product import _product

BY_NAME = {member.name: member for member in [*LARGER, *LAYERS]}


def is_solver(member):
    return type(member.make()).__module__.startswith(("sciml_lux.solvers", "sciml_lux.training"))


# What JAX tracks can be seen on a mesh of one device, without running anything.


FAST = ["Dense, narrowing", "ConvTranspose in groups", "Upsample"]
SLOW = [*(member.name for member in LARGER if member.name not in FAST), "Repeated, tied", "SpectralNorm"]


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_sum_over_devices_that_was_forgotten_is_refused(name):
    case = Case(BY_NAME[name])
    mesh = mesh_of(1, AxisType.Auto)
    given = case.vector, jax.tree.map(lambda leaf: leaf[:1], case.xs)
    _, in_vector, _ = jax.eval_shape(case.mapped(mesh, check=True), *given)
    assert in_vector.shape == case.vector.shape
    if case.vector.size:
        with pytest.raises(ValueError, match="out_specs"):
            jax.eval_shape(case.mapped(mesh, check=True, summed=False), *given)


@pytest.mark.slow
def test_the_advice_where_a_solver_does_not_say_what_varies_works():
    case = Case(BY_NAME["NeuralODE"])
    mesh = mesh_of(1, AxisType.Auto)
    given = case.vector, case.xs[:1]
    with pytest.raises(TypeError) as caught:
        jax.eval_shape(case.mapped(mesh, check=True), *given)
    assert "write jax.shard_map(..., check_vma=False)" in message_of(caught.value)
    jax.eval_shape(case.mapped(mesh, check=False), *given)


def test_a_program_that_was_traced_elsewhere_is_refused():
    x, weight = jnp.ones((8, 8)), jnp.ones((8, 2))
    program = jax.make_jaxpr(lambda x, weight: _product.bind(x, weight))(x, weight)
    inside = jax.shard_map(
        lambda x: jax.core.eval_jaxpr(program.jaxpr, program.consts, x, lax.pcast(weight, "d", to="varying"))[0],
        mesh=mesh_of(1, AxisType.Auto),
        in_specs=P("d"),
        out_specs=P("d"),
    )
    with pytest.raises(lux.LuxError, match="trace it there"):
        jax.eval_shape(inside, x)


def test_a_carry_is_declared_as_varying_where_its_steps_make_it_so():
    seen = []

    def on_one(x):
        start = {"fixed": jnp.zeros(()), "direct": jnp.zeros(()), "through another": jnp.zeros(())}

        def step(c):
            return {"fixed": c["fixed"] + 1, "direct": c["direct"] + x[0], "through another": c["direct"]}

        carry = carried(step, start)
        seen.append({name: jax.typeof(leaf).manual_axis_type.varying for name, leaf in carry.items()})
        return x

    jax.eval_shape(
        jax.shard_map(on_one, mesh=mesh_of(1, AxisType.Auto), in_specs=P("d"), out_specs=P("d")), jnp.ones(2)
    )
    assert seen == [{"fixed": frozenset(), "direct": {"d"}, "through another": {"d"}}]


# Values, on four


def on_four_devices(*names):
    here = pathlib.Path(__file__).parents[1]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={NUMBER}"
    path = os.pathsep.join([str(here.parent), str(here), os.environ.get("PYTHONPATH", "")])
    settings = {"XLA_FLAGS": flags, "PYTHONPATH": path, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(here / "on_devices.py"), *names]
    run = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [tuple(line.split("|", 2)) for line in run.stdout.splitlines() if line.count("|") >= 2]


@pytest.mark.slow
def test_every_layer_on_four_devices_is_the_same_on_one_or_refused():
    found = on_four_devices()
    assert {name for name, _, _ in found} == set(BY_NAME)
    wrong = [line for line in found if line[2].startswith("off by")]
    assert not wrong
    # Within shard_map only adapters are refused, whose loops are those of libraries. Unchecked, as the message says, they run, but for
    # methods of diffrax that convert closures.
    for name, way, what in found:
        assert what == "equal" or way == "explicit" or is_solver(BY_NAME[name]), (name, way, what)
    assert ("NeuralODE", "unchecked", "equal") in found
    # On meshes of explicit axes JAX refuses what it cannot place, such as many reshapes.
    kept = [name for name, way, what in found if way == "explicit" and what == "equal"]
    assert {member.name for member in LARGER} <= set(kept)
