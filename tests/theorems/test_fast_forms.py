"""A fast form runs only in place of the very functions that it stands for: whatever overrides one of these is called."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import setup
from members import LAYERS, array

import sciml_lux as lux
from sciml_lux.core import children_of
from sciml_lux.kernels import may_stand_in
from sciml_lux.layers import _columns
from sciml_lux.layers._columns import length_of_run
from sciml_lux.layers.recurrent._gated_cell import AbstractGatedCell


def overriding(layer, name, make):
    """`layer` as one of a subclass whose method `name` is what `make` makes of the old one."""
    cls = type(layer)
    new = object.__new__(type(cls.__name__, (cls,), {name: make(getattr(cls, name))}))
    new.__dict__.update(layer.__dict__)
    return new


def doubled(call):
    """A layer's `__call__` whose result is twice what it was; a cell's carry, too."""

    def __call__(self, x, ps, st):  # noqa: N807
        y, st = call(self, x, ps, st)
        return jax.tree.map(lambda leaf: 2 * leaf, y), st

    return __call__


def subclasses(cls):
    return {cls}.union(*(subclasses(child) for child in cls.__subclasses__()))


CLASSES = [cls for cls in subclasses(lux.AbstractLayer) if cls.__module__.startswith("sciml_lux.")]
CELLS = [member.make() for member in LAYERS if isinstance(member.make(), AbstractGatedCell) and not member.slow]


def test_every_fast_form_says_what_it_stands_for():
    for cls in CLASSES:
        if issubclass(cls, lux.AbstractRecurrentCell) and cls.scan is not lux.AbstractRecurrentCell.scan:
            assert may_stand_in(cls.scan, object.__new__(cls)), cls


def test_a_method_of_ones_own_is_not_passed_over_by_a_chain():
    layers = lux.Dense(4, 8, jnp.tanh), lux.Dense(8, 2)
    x = array(256, 4)
    assert length_of_run(layers, x) == 2
    own = overriding(layers[0], "__call__", doubled)
    assert length_of_run((own, layers[1]), x) == 0
    for chain in (lux.Chain(own, layers[1]), lux.Chain(layers[0], overriding(layers[1], "__call__", doubled))):
        ps, st = setup(chain)
        call = jax.jit(lambda x: chain(x, ps, st)[0])  # noqa: B023
        np.testing.assert_allclose(call(x)[64:128], call(x[64:128]), rtol=1e-12)


def test_what_overrides_nothing_runs_fast():
    class Plain(lux.Dense):
        pass

    assert length_of_run((Plain(4, 8), lux.Dense(8, 2)), array(256, 4)) == 2


def test_an_activation_that_only_compares_as_equal_is_not_taken_for_elementwise():
    class Equal:
        def __call__(self, x):
            return jax.nn.softmax(x)

        def __eq__(self, other):
            return other is jnp.tanh

        def __hash__(self):
            return hash(jnp.tanh)

    assert length_of_run((lux.Dense(4, 8, Equal()), lux.Dense(8, 2)), array(256, 4)) == 0


def stepped(cell, x, ps, st):
    carry, ys = cell.initial_carry(ps, x.shape[:-2], x.dtype), []
    for t in range(x.shape[-2]):
        (y, carry), st = cell((x[..., t, :], carry), ps, st)
        ys.append(y)
    return jnp.stack(ys, -2)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        pytest.param(cell, name, marks=[pytest.mark.slow] * (name not in fast), id=f"{name} of {type(cell).__name__}")
        for cell, fast in zip(CELLS, [(), ("__call__",), ("project",)], strict=True)
        for name in ("__call__", "project", "advance", "initial_carry")
    ],
)
def test_a_method_of_ones_own_is_not_passed_over_by_a_recurrence(cell, name):
    def centred(old):
        # Over all leading axes: not the same for all steps at once.
        def project(self, x, ps):
            return old(self, x - jnp.mean(x, axis=tuple(range(x.ndim - 1)), keepdims=True), ps)

        return project

    def on_leaves(old):
        return lambda self, *given: jax.tree.map(lambda leaf: 0.5 * leaf + 0.1, old(self, *given))

    make = {"__call__": doubled, "project": centred}.get(name, on_leaves)
    own = overriding(cell, name, make)
    layer = lux.Recurrence(own)
    ps, st = setup(layer)
    x = array(9, 3, 3)
    expected = jax.jit(stepped, static_argnums=0)(own, x, ps.params.cell, st.cell)
    np.testing.assert_allclose(jax.jit(layer)(x, ps, st)[0], expected, rtol=1e-12)
    assert not np.allclose(jax.jit(lux.Recurrence(cell))(x, ps, st)[0], expected)


def test_a_scan_of_ones_own_is_passed_over_where_the_step_was_overridden_later():
    class Sum(lux.AbstractRecurrentCell):
        def initial_carry(self, ps, batch_shape, dtype):
            return jnp.zeros((*batch_shape, 1), dtype)

        def __call__(self, x_and_carry, ps, st):
            carry = sum(x_and_carry)
            return (carry, carry), st

        def scan(self, xs, carry, ps, st, mask=None, reverse=False, unroll=1):
            ys = carry[None] + jnp.cumsum(xs, 0)
            return (ys, ys[-1], ys[-1]), st

    x = array(4, 1)
    np.testing.assert_allclose(lux.Recurrence(Sum())(x, lux.Params(cell={}), {"cell": {}})[0], jnp.cumsum(x, 0))
    twice = overriding(Sum(), "__call__", doubled)
    once = lux.Recurrence(twice)(x, lux.Params(cell={}), {"cell": {}})[0]
    np.testing.assert_allclose(once, stepped(twice, x, lux.Params(), lux.State()))


CONTAINERS = [
    pytest.param(
        member, marks=[pytest.mark.slow] * (not type(member.make()).__module__.endswith(("_chain", "_recurrence")))
    )
    for member in LAYERS
    if isinstance(member.make(), lux.AbstractContainer) and not member.slow
]


@pytest.mark.parametrize("member", CONTAINERS, ids=lambda member: member.name)
def test_every_container_calls_its_children_as_they_are_written(member, monkeypatch):
    monkeypatch.setattr(_columns, "_FEWEST_SAMPLES", 1)
    called = set()

    def noting(old):
        def __call__(self, x, ps, st, *rest):  # noqa: N807
            called.add(self)
            return old(self, x, ps, st, *rest)

        return __call__

    layer = member.make()
    children = {name: overriding(child, "__call__", noting) for name, child in children_of(layer).items()}
    try:
        changed = layer.with_children(children)
    except lux.LuxError:
        return  # it makes its layers itself
    ps, st = setup(changed)
    jax.eval_shape(changed, member.x, ps, st)
    assert called == {child for child in children.values() if not isinstance(child, lux.ParameterDict)}
