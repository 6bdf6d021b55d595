"""`register_ravel_map`: a layer or a foreign type that says how it is stored."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits

import sciml_lux as lux
from sciml_lux.flatten import AbstractRavelMap, flatten

pytestmark = pytest.mark.usefixtures("ravel_maps")
rows, columns = np.triu_indices(3)


class Symmetric(lux.AbstractLayer):
    """x times a symmetric matrix, of which the upper triangle is stored, plus a shift."""

    scale: float = 1.0

    def initial_parameters(self, key):
        matrix = jax.random.normal(key, (3, 3))
        return {"matrix": self.scale * (matrix + matrix.T), "shift": jnp.zeros(3)}

    def __call__(self, x, ps, st):
        return x @ ps.matrix + jnp.broadcast_to(ps.shift, x.shape), st


class Descendant(Symmetric):
    """Inherits the map of its base."""


@dataclasses.dataclass(frozen=True)
class UpperTriangle(AbstractRavelMap):
    def size(self, spec):
        return 9

    def ravel(self, value, spec):
        return jnp.concatenate([value.matrix[rows, columns], value.shift])

    def unravel(self, segment, spec):
        upper = jnp.zeros((3, 3), segment.dtype).at[rows, columns].set(segment[:6])
        return lux.Params(matrix=jnp.triu(upper) + jnp.triu(upper, 1).T, shift=segment[6:])


@pytest.fixture
def registered(ravel_maps):
    lux.register_ravel_map(Symmetric, UpperTriangle())


MODELS = {
    "the whole model": (Symmetric(), ""),
    "a subclass": (Descendant(2.0), ""),
    "in a chain": (lux.Chain(lux.Dense(3, 3), lux.Chain(inner=Symmetric())), "layer_1.inner."),
}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(("model", "prefix"), MODELS.values(), ids=MODELS)
def test_a_layer_with_a_map_of_its_own(model, prefix, key):
    ps, st = lux.setup(key, model)
    extra = 12 if prefix else 0
    assert ps.vector.shape == (9 + extra,)
    assert lux.parameter_length(model) == 9 + extra
    assert lux.layout_of(model) is ps.layout
    assert bits(ps.layout.ravel(ps.params)) == bits(ps.vector)
    matrix = ps[f"{prefix}matrix"]
    np.testing.assert_array_equal(matrix, matrix.T)

    x = jnp.ones((2, 3))
    y, new = model(x, ps, st)
    np.testing.assert_array_equal(model(x, ps.params, st)[0], y)
    np.testing.assert_allclose(jax.jit(model)(x, ps, st)[0], y, rtol=1e-13)
    assert jax.tree.structure(new) == jax.tree.structure(st)
    gradient = jax.grad(lambda ps: jnp.sum(model(x, ps, st)[0] ** 2))(ps)
    assert gradient.vector.shape == ps.vector.shape

    shifted = ps.set(f"{prefix}shift", jnp.ones(3))
    np.testing.assert_array_equal(shifted[f"{prefix}shift"], np.ones(3))
    np.testing.assert_array_equal(shifted[f"{prefix}matrix"], matrix)

    batch = ps.replace(jnp.stack([ps.vector, 2 * ps.vector]))
    assert batch[f"{prefix}matrix"].shape == (2, 3, 3)
    assert bits(batch.layout.ravel(batch.params)) == bits(batch.vector)


@pytest.mark.usefixtures("registered")
def test_the_memory_map_shows_what_an_entry_holds():
    text = str(lux.layout_of(lux.Chain(inner=Symmetric())))
    assert "inner  matrix: (3, 3), shift: (3,)  UpperTriangle()" in text


def test_registering_later_changes_the_layout():
    model = Symmetric(7.0)
    assert lux.parameter_length(model) == 12
    lux.register_ravel_map(Symmetric, UpperTriangle())
    assert lux.parameter_length(model) == 9


@dataclasses.dataclass(frozen=True)
class Halved(UpperTriangle):
    def ravel(self, value, spec):
        return super().ravel(value, spec) / 2

    def unravel(self, segment, spec):
        return super().unravel(2 * segment, spec)


@pytest.mark.usefixtures("registered")
def test_a_later_registration_and_one_of_a_subclass_come_first(key):
    plain, _ = lux.setup(key, Descendant())
    lux.register_ravel_map(Descendant, Halved())
    halved, _ = lux.setup(key, Descendant())
    np.testing.assert_array_equal(halved.vector, plain.vector / 2)
    np.testing.assert_array_equal(halved.matrix, plain.matrix)
    lux.register_ravel_map(Descendant, UpperTriangle())
    np.testing.assert_array_equal(lux.setup(key, Descendant())[0].vector, plain.vector)


# A foreign type


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rotation:
    """Somebody else's type: a rotation of the plane, shown as its cosine and sine."""

    cosine: jax.Array
    sine: jax.Array


class Turn(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {"rotation": Rotation(jnp.cos(0.3), jnp.sin(0.3)), "scale": jnp.ones(())}

    def __call__(self, x, ps, st):
        turn = ps.rotation
        return ps.scale * jnp.stack([turn.cosine * x[0] - turn.sine * x[1], turn.sine * x[0] + turn.cosine * x[1]]), st


def test_a_value_of_a_foreign_type_stored_as_its_angle(key):
    @lux.register_ravel_map(Rotation)
    @dataclasses.dataclass(frozen=True)
    class Angle(AbstractRavelMap):
        def size(self, spec):
            return 1

        def ravel(self, value, spec):
            return jnp.arctan2(value.sine, value.cosine)[None]

        def unravel(self, segment, spec):
            return Rotation(jnp.cos(segment[0]), jnp.sin(segment[0]))

    ps, st = lux.setup(key, Turn())
    np.testing.assert_allclose(ps.vector, [0.3, 1.0], rtol=1e-15)
    assert lux.layout_of(Turn()) is ps.layout
    assert isinstance(ps.rotation, Rotation)
    x = jnp.array([1.0, 2.0])
    y, _ = Turn()(x, ps, st)
    np.testing.assert_allclose(jnp.sum(y**2), 5.0, rtol=1e-14)
    # The length of the result does not depend on the angle: its derivative is 0, that to the scale twice the length.
    gradient = jax.grad(lambda ps: jnp.sum(Turn()(x, ps, st)[0] ** 2))(ps)
    np.testing.assert_allclose(gradient.vector, [0.0, 10.0], atol=1e-14)
    batch = jax.vmap(lambda vector: Turn()(x, ps.replace(vector), st)[0])(jnp.stack([ps.vector] * 2))
    np.testing.assert_allclose(batch, jnp.stack([y, y]), rtol=1e-14)


def test_a_map_for_a_layer_without_parameters(key):
    class Empty(lux.NoOp):
        pass

    @lux.register_ravel_map(Empty)
    @dataclasses.dataclass(frozen=True)
    class Nothing(AbstractRavelMap):
        def size(self, spec):
            return 0

        def ravel(self, value, spec):
            return jnp.zeros(0)

        def unravel(self, segment, spec):
            return lux.Params()

    model = lux.Chain(lux.Dense(2, 2), Empty())
    ps, st = lux.setup(key, model)
    assert ps.vector.shape == (6,)
    np.testing.assert_array_equal(
        model(jnp.ones(2), ps, st)[0], model.children()["layer_0"](jnp.ones(2), ps.layer_0, st.layer_0)[0]
    )


def test_a_map_by_hand_on_one_parameter():
    @dataclasses.dataclass(frozen=True)
    class Squared(AbstractRavelMap):
        def size(self, spec):
            return spec.size

        def ravel(self, value, spec):
            return jnp.sqrt(value).reshape(-1)

        def unravel(self, segment, spec):
            return jnp.reshape(segment**2, spec.shape)

    ps = flatten({"a": lux.Parameter(jnp.array([[4.0, 9.0]]), Squared(), "m")})
    np.testing.assert_array_equal(ps.vector, [2.0, 3.0])
    np.testing.assert_array_equal(ps.a, [[4.0, 9.0]])
    assert "Squared()" in str(ps.layout)


def test_an_error_inside_a_map_is_shown_as_it_is():
    @dataclasses.dataclass(frozen=True)
    class Broken(AbstractRavelMap):
        def size(self, spec):
            return 1

        def ravel(self, value, spec):
            return jnp.reshape(value, (-1,))

        def unravel(self, segment, spec):
            return segment.no_such_method()

    ps = flatten({"a": lux.Parameter(1.0, Broken())})
    with pytest.raises(AttributeError, match="no_such_method"):
        ps.params  # noqa: B018
    with pytest.raises(AttributeError, match="no_such_method"):
        ps.a  # noqa: B018


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("cls", "ravel_map", "message"),
    [
        (1.0, UpperTriangle(), "takes a type, got 1.0; write type"),
        (Symmetric, UpperTriangle, "takes an instance of AbstractRavelMap, got <class"),
    ],
)
def test_what_cannot_be_registered(cls, ravel_map, message):
    with pytest.raises(lux.LuxError, match=message):
        lux.register_ravel_map(cls, ravel_map)


def test_a_map_that_holds_a_list_cannot_be_registered():
    @dataclasses.dataclass(frozen=True)
    class WithList(UpperTriangle):
        indices: list

    with pytest.raises(lux.LuxError, match="must be hashable; make it a frozen dataclass"):
        lux.register_ravel_map(Symmetric, WithList([1]))
