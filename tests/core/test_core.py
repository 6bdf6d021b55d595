"""The layer contract, setup, state and modes, and what is known of a layer without computing."""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Counted, bits

import sciml_lux as lux
from sciml_lux.core import as_params, as_state


class Affine(lux.AbstractLayer):
    """The example of AbstractLayer's docstring, with a counter for state."""

    features: int
    start: float = 1.0

    def initial_parameters(self, key):
        return {"slope": jnp.full(self.features, self.start), "shift": jnp.zeros(self.features)}

    def initial_states(self, key):
        return {"calls": jnp.zeros((), int)}

    def __call__(self, x, ps, st):
        return ps.slope * x + ps.shift, {"calls": st.calls + 1}


class Noise(lux.AbstractLayer):
    """Adds noise while training; its key comes back advanced."""

    scale: float = 0.1

    def initial_states(self, key):
        return {"key": key, "training": lux.Training()}

    def __call__(self, x, ps, st):
        if not st.training:
            return x, st
        now, later = jax.random.split(st.key)
        return x + self.scale * jax.random.normal(now, x.shape), st.set("key", later)


class Autoencoder(lux.AbstractContainer):
    """A container with a parameter of its own beside its children's."""

    encoder: lux.AbstractLayer
    decoder: lux.AbstractLayer
    gain: float = 2.0

    def initial_parameters(self, key):
        return {**super().initial_parameters(key), "gain": lux.positive(self.gain)}

    def __call__(self, x, ps, st):
        z, encoder = self.encoder(x, ps.encoder, st.encoder)
        y, decoder = self.decoder(ps.gain * z, ps.decoder, st.decoder)
        return y, {"encoder": encoder, "decoder": decoder}


def double(x):
    return 2 * x


# Immutable descriptions


def test_a_layer_is_a_frozen_value_compared_by_its_fields():
    assert Affine(3) == Affine(3)
    assert hash(Affine(3)) == hash(Affine(3))
    assert len({Affine(3), Affine(4), Affine(3, 2.0), Affine(3)}) == 3
    assert Affine(3) != Affine(3, start=1)  # 1 and 1.0 start different dtypes
    with pytest.raises(dataclasses.FrozenInstanceError):
        Affine(3).features = 4


def test_tuples_in_fields_compare_by_the_type_of_what_they_hold():
    class Window(lux.NoOp):
        sizes: tuple

    assert Window((1, (2,))) == Window((1, (2,)))
    assert Window((1, (2,))) != Window((1, (2.0,)))
    assert Window((1,)) != Window((1, 2))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_are_equal(again):
    # JAX's own functions are copied, but do not pickle: PjitFunction is found by another name than it has.
    activation = double if again.__name__ == "<lambda>" else jnp.tanh
    model = Autoencoder(lux.Chain(Affine(2), activation), lux.Dense(2, 2, double))
    hash(model)
    assert again(model) == model
    assert hash(again(model)) == hash(model)
    _, st = lux.setup(jax.random.key(0), lux.Chain(Noise(), Affine(2)))
    assert jax.tree.structure(again(st.layer_1)) == jax.tree.structure(st.layer_1)


def test_a_subclass_without_new_fields_is_built_like_its_base():
    class Residual(lux.Chain):
        def __call__(self, x, ps, st):
            y, st = super().__call__(x, ps, st)
            return x + y, st

    model = Residual(lux.Scale(2), first=double)
    assert list(model.children()) == ["layer_0", "first"]
    ps, st = lux.setup(jax.random.key(0), model)
    np.testing.assert_array_equal(model(jnp.ones(2), ps, st)[0], [3.0, 3.0])


def test_a_subclass_with_new_fields_has_them():
    class Named(Affine):
        name: str = "x"

    assert Named(2, name="y") != Named(2)
    assert repr(Named(2, name="y")) == "Named(2, name='y')  # 4 parameters"


def test_layers_go_through_jit_as_arguments_and_equal_ones_share_a_compilation(key):
    counted = Counted(lambda layer, x, ps, st: layer(x, ps, st))
    compiled = jax.jit(counted)
    for _ in range(3):
        model = lux.Chain(Affine(2), lux.Dense(2, 2, jnp.tanh))
        ps, st = lux.setup(key, model)
        y, st = compiled(model, jnp.ones(2), ps, st)
    assert counted.traces == 1
    assert st.layer_0.calls == 1
    np.testing.assert_allclose(y, model(jnp.ones(2), ps, st)[0], rtol=1e-14)
    other = lux.Chain(Affine(2), lux.Dense(2, 2, jnp.sin))
    compiled(other, jnp.ones(2), *lux.setup(key, other))
    assert counted.traces == 2


# Setup


def test_setup_gives_a_vector_in_the_order_of_declaration(key):
    ps, st = lux.setup(key, Autoencoder(Affine(2), lux.Scale(2)))
    assert [entry.path for entry in ps.layout.entries] == [
        "encoder.slope",
        "encoder.shift",
        "decoder.weight",
        "decoder.bias",
        "gain",
    ]
    np.testing.assert_allclose(ps.vector, [1, 1, 0, 0, 1, 1, 0, 0, np.log(2.0)], rtol=1e-15)
    assert isinstance(st, lux.State)
    assert st.encoder.calls == 0


def test_the_start_of_a_layer_does_not_depend_on_its_siblings(key):
    alone, _ = lux.setup(key, lux.Chain(a=lux.Dense(2, 2)))
    before, after = lux.Dense(3, 3), lux.Dense(4, 4)
    among, _ = lux.setup(key, lux.Chain(z=before, a=lux.Dense(2, 2), b=after))
    assert bits(among.a) == bits(alone.a)
    other_name, _ = lux.setup(key, lux.Chain(b=lux.Dense(2, 2)))
    assert bits(other_name.b) != bits(alone.a)
    noisy = [lux.setup(key, model)[1] for model in (lux.Chain(n=Noise()), lux.Chain(m=Noise(), n=Noise()))]
    assert noisy[0].n.key == noisy[1].n.key
    assert noisy[1].n.key != noisy[1].m.key


def test_the_same_key_gives_the_same_start_and_another_another(key):
    model = lux.Dense(3, 3)
    assert bits(lux.setup(key, model)[0]) == bits(lux.setup(key, model)[0])
    assert bits(lux.setup(key, model)[0]) != bits(lux.setup(jax.random.key(1), model)[0])


def test_setup_compiles_and_maps_over_keys(key):
    model = lux.Chain(lux.Dense(2, 3), Noise())
    ps, _ = lux.setup(key, model)
    compiled, _ = jax.jit(lambda key: lux.setup(key, model))(key)
    np.testing.assert_allclose(compiled.vector, ps.vector, rtol=1e-14)
    keys = jax.random.split(key, 3)
    many, st = jax.vmap(lambda key: lux.setup(key, model))(keys)
    assert many.vector.shape == (3, 9)
    assert st.layer_1.key.shape == (3,)
    np.testing.assert_allclose(many.vector[1], lux.setup(keys[1], model)[0].vector, rtol=1e-14)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
def test_setup_makes_the_dtype_that_is_asked_for(key, dtype):
    ps, _ = lux.setup(key, Autoencoder(Affine(2), lux.Dense(2, 2)), dtype=dtype)
    assert ps.vector.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(ps.params)} == {np.dtype(dtype)}


def test_without_x64_everything_is_float32_also_after_it_was_on(key):
    model = lux.Chain(lux.Dense(2, 2), lux.ParameterDict(a=lux.positive([1.0, 2.0])))
    assert lux.layout_of(model).dtype == jnp.float64
    with jax.enable_x64(False):
        assert lux.layout_of(model).dtype == jnp.float32
        assert lux.setup(key, model)[0].vector.dtype == jnp.float32
    assert lux.layout_of(model).dtype == jnp.float64


def test_nested_mappings_may_be_declared_in_one_layer(key):
    class Nested(lux.AbstractLayer):
        def initial_parameters(self, key):
            return {"rates": {"growth": lux.positive(1.0, unit="1/s")}, "shift": jnp.zeros(2)}

        def __call__(self, x, ps, st):
            return ps.rates.growth * x + ps.shift, st

    ps, st = lux.setup(key, Nested())
    assert ps.layout["rates.growth"].unit == "1/s"
    assert Nested()(jnp.ones(2), ps, st)[0].shape == (2,)


# Calling


def test_flat_structured_and_plain_parameters_are_the_same(key):
    model = lux.Chain(Affine(2), lux.Dense(2, 2))
    ps, st = lux.setup(key, model)
    plain = {"layer_0": dict(ps.layer_0), "layer_1": dict(ps.layer_1)}
    expected = model(jnp.ones(2), ps, st)
    for given in (ps.params, plain):
        assert bits(model(jnp.ones(2), given, st)) == bits(expected)
    assert bits(model(jnp.ones(2), ps, {"layer_0": dict(st.layer_0), "layer_1": {}})) == bits(expected)
    assert as_params(ps) is ps.params
    assert as_state(st) is st


def test_state_that_comes_back_as_a_mapping_is_a_state_in_the_order_it_had(key):
    class Backwards(lux.AbstractLayer):
        def initial_states(self, key):
            return {"a": jnp.zeros(()), "b": jnp.ones(())}

        def __call__(self, x, ps, st):
            return x, {"b": st.b, "a": st.a}

    ps, st = lux.setup(key, Backwards())
    _, new = Backwards()(1.0, ps, st)
    assert type(new) is lux.State
    assert jax.tree.structure(new) == jax.tree.structure(st)


def test_random_layers_are_pure_and_advance_their_key(key):
    model = lux.Chain(Noise(), Affine(3))
    ps, st = lux.setup(key, model)
    first, second = model(jnp.zeros(3), ps, st), model(jnp.zeros(3), ps, st)
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1].layer_0.key == second[1].layer_0.key
    third, _ = model(jnp.zeros(3), ps, first[1])
    assert not np.any(third == first[0])


# State


def test_modes_set_every_flag_and_nothing_else(key):
    st = lux.setup(key, lux.Chain(Noise(), inner=lux.Chain(Noise(), Affine(2))))[1]
    tested = lux.test_mode(st)
    assert st.layer_0.training
    assert st.inner.layer_0.training
    assert not tested.layer_0.training
    assert not tested.inner.layer_0.training
    assert tested.layer_0.key == st.layer_0.key
    assert lux.train_mode(tested).inner.layer_0 == st.inner.layer_0
    assert lux.test_mode(lux.State()) == lux.State()


def test_a_compiled_function_specialises_on_the_mode(key):
    model = lux.Chain(Noise(), Affine(2))
    ps, st = lux.setup(key, model)
    counted = Counted(model)
    compiled = jax.jit(counted)
    x = jnp.ones(2)
    np.testing.assert_array_equal(compiled(x, ps, lux.test_mode(st))[0], x)
    assert not np.any(compiled(x, ps, st)[0] == x)
    compiled(x, ps, lux.train_mode(st))
    assert counted.traces == 2


def test_update_state_changes_every_entry_of_that_name(key):
    st = lux.setup(key, lux.Chain(Affine(2), inner=lux.Chain(Noise(), Affine(2))))[1]
    new = lux.update_state(st, "calls", jnp.array(7))
    assert new.layer_0.calls == 7
    assert new.inner.layer_1.calls == 7
    assert st.layer_0.calls == 0
    assert new.inner.layer_0.key == st.inner.layer_0.key
    with pytest.raises(lux.LuxError, match="no state 'call'; nearest: calls"):
        lux.update_state(st, "call", 0)


# Known without computing


def test_lengths_count_parameters_and_state():
    model = lux.Chain(lux.Dense(2, 50), Noise(), Affine(50))
    assert lux.parameter_length(model) == 2 * 50 + 50 + 50 + 50
    assert lux.state_length(model) == 2  # a key and a counter; a flag is no number
    assert lux.parameter_length(lux.ParameterDict(a=1.0, b=lux.fixed(2.0))) == 1


def test_nothing_is_allocated_to_measure_a_layer_of_a_million_by_a_million():
    model = lux.Chain(lux.Dense(10**6, 10**6, jnp.tanh), lux.Dense(10**6, 3))
    assert lux.parameter_length(model) == 10**12 + 10**6 + 3 * 10**6 + 3
    assert lux.state_length(model) == 0
    assert lux.output_shape(model, (32, 10**6)) == (32, 3)
    assert lux.layout_of(model)["layer_1.bias"].offset == 10**12 + 4 * 10**6
    assert "1,000,001,000,000 parameters" in repr(model)


def test_output_shape_of_trees_and_of_inputs_that_are_no_floats():
    class Lookup(lux.AbstractLayer):
        def __call__(self, x, ps, st):
            return {"embedded": jnp.ones((10, 4))[x["token"]], "shape": x["image"]}, st

    given = {
        "token": jax.ShapeDtypeStruct((5,), jnp.int32),
        "image": jax.ShapeDtypeStruct((2, 3), jnp.float32),
    }
    assert lux.output_shape(Lookup(), given) == {"embedded": (5, 4), "shape": (2, 3)}
    assert lux.output_shape(lux.NoOp(), ()) == ()


# Shown as what builds it


@pytest.mark.parametrize(
    "model",
    [
        Affine(3),
        Affine(3, start=2.5),
        Autoencoder(lux.Chain(Affine(2), jnp.tanh, double), lux.Chain(out=lux.Dense(2, 1, use_bias=False)), gain=0.5),
        lux.Chain(lux.Chain(), lux.Chain(lux.Chain(a=lux.NoOp())), last=jax.nn.relu),
        lux.Chain(layer_1=lux.NoOp(), layer_0=lux.NoOp()),
        lux.Dense(2, 3, jax.nn.gelu, init_weight=lux.init.kaiming_normal(gain=1.0)),
        lux.Chain(*(lux.Dense(30, 30, jnp.tanh) for _ in range(12))),
    ],
)
def test_the_repr_evaluates_to_an_equal_model(model):
    names = vars(lux) | {"jax": jax, "jnp": jnp, "double": double, "Affine": Affine, "Autoencoder": Autoencoder}
    assert eval(repr(model), names) == model


def test_the_repr_is_a_tree_with_counts():
    model = Autoencoder(lux.Chain(lux.Dense(2, 3), jnp.tanh), lux.Dense(3, 2))
    assert repr(model).splitlines() == [
        "Autoencoder(",
        "    Chain(",
        "        Dense(2, 3),                # layer_0: 9 parameters",
        "        WrappedFunction(jnp.tanh),  # layer_1: 0 parameters",
        "    ),                              # encoder: 9 parameters",
        "    Dense(3, 2),                    # decoder: 8 parameters",
        ")                                   # 18 parameters",
    ]


def test_state_and_params_are_shown_by_name(key):
    ps, st = lux.setup(key, lux.Chain(Affine(2), Noise()))
    assert repr(ps.params) == "Params(layer_0=Params(slope=float64[2], shift=float64[2]), layer_1=Params())"
    assert "training=Training(True)" in repr(st)
