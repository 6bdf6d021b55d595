"""What every layer and every ravel map promises. The members are listed in `members.py`."""

import inspect
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Counted, assert_close, bits, directional_difference
from members import LAYERS, RAVEL_MAPS, array

import sciml_lux as lux
from sciml_lux.core import differentiation_mode
from sciml_lux.flatten import AbstractRavelMap, Entry, Layout, Tied, leaf_paths

# Among those that are not slow anyway, or a class would have no test in the fast suite.
FIRST_OF_CLASS = {type(member.make()): member.name for member in reversed(LAYERS) if not member.slow}.values()


def of(members, slow=lambda member: False):
    """Runs a test for the members; those that are `slow` by `make test-slow` only."""
    parameters = [pytest.param(member, marks=[pytest.mark.slow] * slow(member)) for member in members]
    return pytest.mark.parametrize("member", parameters, ids=[member.name for member in members])


every_layer = of(LAYERS)
# A call that is not compiled compiles each of its operations by itself, and takes the way through the layer that its class takes.
every_class = of(LAYERS, slow=lambda member: member.name not in FIRST_OF_CLASS)
every_map = pytest.mark.parametrize("member", RAVEL_MAPS, ids=lambda member: member.name)


MADE = {}  # by the name of the member: nothing of it can change


@pytest.fixture
def made(member, key):
    """The layer, its parameters moved off their start (biases of 0 hide mistakes), and its state."""
    if member.name not in MADE:
        layer = member.make()
        ps, st = lux.setup(key, layer)
        if not all(jnp.size(leaf) for leaf in jax.tree.leaves(st)):
            # What is known of each sample gets its shape in a first call.
            _, st = layer(member.x, ps, st)
        moved = np.asarray(ps.vector) + 0.1 * np.asarray(array(ps.layout.size))
        MADE[member.name] = layer, ps.replace(jnp.asarray(moved)), st
    return MADE[member.name]


@jax.jit
def compiled(layer, x, ps, st):
    """The program that most theorems compare with, compiled once for each member."""
    return layer(x, ps, st)


def total(y, numpy=jnp):
    """A number of a tree; with `numpy=np` by arithmetic that compiles nothing."""
    leaves = [numpy.asarray(leaf) for leaf in jax.tree.leaves(y)]
    parts = [part for leaf in leaves for part in ([leaf.real, leaf.imag] if numpy.iscomplexobj(leaf) else [leaf])]
    return sum((numpy.sum(numpy.sin(part + 0.3)) for part in parts), numpy.zeros(()))


def is_float(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def three(leaf):
    """Three inputs out of one; indices and masks stay what they are, in another order."""
    leaf = np.asarray(leaf)
    return [leaf, 0.5 * leaf, -leaf] if is_float(leaf) else [leaf, np.flip(leaf), leaf]


# Layers


def test_every_layer_is_listed():
    public = {value for part in (lux.layers, lux.solvers) for value in vars(part).values() if inspect.isclass(value)}
    layers = {
        value for value in public if issubclass(value, lux.AbstractLayer) and not value.__name__.startswith("Abstract")
    }
    assert layers == {type(member.make()) for member in LAYERS} & layers


@every_class
def test_it_is_a_pure_function(member, made):
    layer, ps, st = made
    before = bits((member.x, ps, st))
    first, second = layer(member.x, ps, st), layer(member.x, ps, st)
    assert bits((member.x, ps, st)) == before
    assert bits(first) == bits(second)


@every_class
def test_compiled_is_uncompiled(member, made):
    layer, ps, st = made
    assert_close(compiled(layer, member.x, ps, st), layer(member.x, ps, st))


@every_class
def test_flat_parameters_are_structured_ones(member, made):
    layer, ps, st = made
    assert bits(layer(member.x, ps, st)) == bits(layer(member.x, ps.params, st))


@of([member for member in LAYERS if member.mapped])
def test_mapped_over_inputs_is_looped(member, made):
    layer, ps, st = made
    xs = jax.tree.map(lambda leaf: np.stack(three(leaf)), member.x)
    mapped = jax.jit(jax.vmap(lambda x: layer(x, ps, st)[0]))(jax.tree.map(jnp.asarray, xs))
    looped = [compiled(layer, jax.tree.map(lambda leaf: jnp.asarray(leaf[i]), xs), ps, st)[0] for i in range(3)]  # noqa: B023
    assert_close(mapped, jax.tree.map(lambda *leaves: np.stack(leaves), *looped))


# Those that are mapped over inputs by every run are mapped over parameters by the slow one.
@of(LAYERS, slow=lambda member: member.mapped)
def test_mapped_over_parameters_is_looped(member, made):
    layer, ps, st = made
    vectors = np.stack([ps.vector, 0.5 * np.asarray(ps.vector)])
    mapped = jax.jit(jax.vmap(lambda ps: layer(member.x, ps, st)[0], axis_size=2))(ps.replace(jnp.asarray(vectors)))
    looped = [compiled(layer, member.x, ps.replace(jnp.asarray(vector)), st)[0] for vector in vectors]
    assert_close(mapped, jax.tree.map(lambda *leaves: np.stack(leaves), *looped))


@every_layer
def test_the_gradient_is_the_finite_difference(member, made):
    layer, ps, st = made
    differentiable = isinstance(member.x, jax.Array) and is_float(member.x)
    loss = lambda vector, x: total(compiled(layer, x, ps.replace(vector), st)[0])  # noqa: E731
    value = lambda vector, x: total(compiled(layer, x, ps.replace(vector), st)[0], np)  # noqa: E731
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1) if differentiable else (0,)))(ps.vector, member.x)
    gradients, direction = [np.asarray(each) for each in gradients], np.cos(np.arange(ps.layout.size, dtype=float))
    difference = directional_difference(lambda vector: value(vector, member.x), ps.vector, direction)
    np.testing.assert_allclose(gradients[0] @ direction, difference, rtol=member.rtol, atol=1e-8)
    with differentiation_mode("forward"):  # adapters choose by it; nothing to other layers
        tangent = jax.jit(
            lambda vector: jax.jvp(lambda vector: loss(vector, member.x), (vector,), (jnp.asarray(direction),))[1]
        )
        np.testing.assert_allclose(gradients[0] @ direction, tangent(ps.vector), rtol=1e-10, atol=1e-12)
    if differentiable:
        direction = np.cos(np.arange(member.x.size, dtype=float)).reshape(member.x.shape)
        difference = directional_difference(lambda x: value(ps.vector, x), member.x, direction)
        np.testing.assert_allclose(np.sum(gradients[1] * direction), difference, rtol=member.rtol, atol=1e-8)


@every_layer
def test_structure_and_vector_are_two_views_of_the_same_numbers(member, made):
    _, ps, _ = made
    assert_close(ps.layout.ravel(ps.params), ps.vector)
    assert_close(ps.layout.unravel(ps.layout.ravel(ps.params)), ps.params)


@every_layer
def test_the_state_keeps_its_structure_in_both_modes(member, made):
    layer, ps, st = made
    for mode in (lux.train_mode(st), lux.test_mode(st)):
        assert list(leaf_paths(mode)) == list(leaf_paths(st))
        _, new = jax.eval_shape(layer, member.x, ps, mode)
        assert type(new) is lux.State
        assert jax.tree.structure(new) == jax.tree.structure(mode)
        same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), new, mode)
        assert all(jax.tree.leaves(same))


@every_layer
def test_what_is_known_without_computing_is_so(member, made, key):
    layer, ps, st = made
    assert lux.parameter_length(layer) == ps.vector.size
    assert lux.layout_of(layer) is ps.layout
    assert lux.state_length(layer) == sum(np.size(leaf) for leaf in jax.tree.leaves(lux.setup(key, layer)[1]))
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), member.x)
    assert lux.output_shape(layer, abstract) == jax.tree.map(
        lambda leaf: leaf.shape, compiled(layer, member.x, ps, st)[0]
    )


@every_layer
def test_the_repr_builds_an_equal_layer(member):
    names = vars(lux) | vars(lux.tools) | {"jax": jax, "jnp": jnp} | member.names
    assert eval(repr(member.make()), names) == member.make()


@every_layer
def test_equal_layers_share_one_compilation(member, made):
    _, ps, st = made
    counted = Counted(lambda layer, x, ps, st: layer(x, ps, st))
    compiled = jax.jit(counted)
    for _ in range(2):
        jax.eval_shape(compiled, member.make(), member.x, ps, st)
    assert counted.traces == 1


@every_layer
def test_the_result_has_the_dtype_of_parameters_and_input(member, key):
    for dtype in member.dtypes:
        layer = member.make()
        x = jax.tree.map(lambda leaf: leaf.astype(dtype) if is_float(leaf) else leaf, member.x)  # noqa: B023
        ps, st = jax.eval_shape(lambda key: lux.setup(key, layer, dtype), key)  # noqa: B023
        y, _ = jax.eval_shape(layer, x, ps, st)
        assert ps.vector.dtype == dtype
        assert {leaf.dtype for leaf in jax.tree.leaves(y)} == {np.dtype(dtype)}


# Ravel maps


def subclasses(cls):
    return {cls}.union(*(subclasses(child) for child in cls.__subclasses__()))


def test_every_ravel_map_is_listed():
    ours = {cls for cls in subclasses(AbstractRavelMap) if cls.__module__.startswith("sciml_lux.")}
    ours.remove(Tied)  # it stores nothing, and is shown by the layout: test_parts_of_the_vector.py
    assert {cls for cls in ours if not inspect.isabstract(cls)} == {type(member.ravel_map) for member in RAVEL_MAPS}


@every_map
def test_unravel_undoes_ravel(member):
    segment = member.ravel_map.ravel(member.value, member.spec)
    assert segment.shape == (member.ravel_map.size(member.spec),)
    assert_close(member.ravel_map.unravel(segment, member.spec), member.value)


@every_map
def test_ravel_undoes_unravel(member):
    numbers = array(member.ravel_map.size(member.spec))
    value = member.ravel_map.unravel(numbers, member.spec)
    again = member.ravel_map.ravel(value, member.spec)
    if member.ravel_map.bijective:
        assert_close(again, numbers)
    else:
        assert_close(member.ravel_map.unravel(again, member.spec), value)


@every_map
def test_a_map_is_a_static_value(member):
    again = pickle.loads(pickle.dumps(member.ravel_map))
    assert again == member.ravel_map
    assert hash(again) == hash(member.ravel_map)
    assert isinstance(member.ravel_map.name, str)
    member.ravel_map.check(member.value)


@every_map
def test_a_map_goes_through_every_transformation(member):
    size = member.ravel_map.size(member.spec)
    layout = Layout(lux.Params(a=Entry("a", 0, size, member.spec, member.ravel_map)), np.float64)
    numbers = array(2, size)
    mapped = layout.unravel(numbers)
    looped = [layout.unravel(row) for row in numbers]
    assert_close(mapped, jax.tree.map(lambda *leaves: jnp.stack(leaves), *looped))
    assert_close(jax.jit(layout.unravel)(numbers), mapped)

    def loss(vector):
        return total(layout.unravel(vector))

    direction = jnp.cos(jnp.arange(size, dtype=float))
    difference = directional_difference(loss, numbers[0], direction)
    np.testing.assert_allclose(jax.grad(loss)(numbers[0]) @ direction, difference, rtol=1e-6, atol=1e-9)
