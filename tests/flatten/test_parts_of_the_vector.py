"""Partition, ties, storage dtypes, batches and transplants: every number keeps its bits, every gradient arrives."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sciml_lux as lux
from sciml_lux import LayoutError, PathError
from sciml_lux.flatten import Transposed, combine, compute_dtype, flatten, partition, pick, stack, tie, transplant

MODEL = lux.Chain(
    encoder=lux.Dense(3, 4, jnp.tanh),
    decoder=lux.Dense(4, 3),
    rates=lux.ParameterDict(alpha=lux.positive(0.5), c=lux.fixed(2.0)),
)


@pytest.fixture(name="ps")
def parameters():
    return lux.setup(jax.random.key(0), MODEL)[0]


def value(ps):
    return sum(jnp.sum(jnp.sin((i + 1) * leaf)) for i, leaf in enumerate(jax.tree.leaves(ps.params)))


# Partition


@pytest.mark.parametrize("trainable", ["decoder.*", "*.bias", "rates", "*", "encoder.weight"])
def test_combine_undoes_partition_bit_for_bit(ps, trainable):
    theta, frozen = partition(ps, trainable=trainable)
    assert theta.layout.size + frozen.layout.size == ps.layout.size
    whole = combine(theta, frozen)
    assert whole.layout is ps.layout
    np.testing.assert_array_equal(whole.vector, ps.vector)
    np.testing.assert_array_equal(jax.jit(combine)(theta, frozen).vector, ps.vector)


def test_the_gradient_by_a_part_is_that_part_of_the_gradient(ps):
    theta, frozen = partition(ps, trainable=["decoder", "rates"])
    part = jax.jit(jax.grad(lambda theta: value(combine(theta, frozen))))(theta)
    expected, _ = partition(jax.grad(value)(ps), trainable=["decoder", "rates"])
    np.testing.assert_allclose(part.vector, expected.vector, rtol=1e-12)
    assert list(theta.layout.tree) == ["decoder", "rates"]
    np.testing.assert_array_equal(theta["decoder.weight"], ps["decoder.weight"])


def test_fitting_a_part_leaves_the_rest_alone(ps):
    theta, frozen = partition(ps, trainable="decoder")

    def loss(theta, st, batch):
        return jnp.mean(combine(theta, frozen)["decoder.weight"] ** 2) + jnp.mean(frozen["encoder.weight"] ** 2), st

    fitted = lux.fit(loss, theta, lux.State(), optax.sgd(0.1), steps=5)
    whole = combine(fitted.ps, frozen)
    np.testing.assert_array_equal(whole["encoder.weight"], ps["encoder.weight"])
    assert jnp.sum(whole["decoder.weight"] ** 2) < jnp.sum(ps["decoder.weight"] ** 2)


def test_only_parts_of_one_whole_combine(ps):
    theta, frozen = partition(ps, trainable="decoder")
    with pytest.raises(LayoutError, match="one call of partition"):
        combine(theta, theta)
    with pytest.raises(LayoutError, match="one call of partition"):
        combine(ps, frozen)
    with pytest.raises(PathError, match="decodr"):
        partition(ps, trainable="decodr")


# Ties


@pytest.fixture(name="tied")
def tied_parameters(ps):
    return tie(ps, ["encoder.weight", "decoder.weight"], through=Transposed())


def test_a_tie_is_stored_once_and_shown_in_each_place(ps, tied):
    assert tied.layout.size == ps.layout.size - 12
    np.testing.assert_array_equal(tied["decoder.weight"], ps["encoder.weight"].T)
    np.testing.assert_array_equal(tied["decoder.bias"], ps["decoder.bias"])
    assert "= encoder.weight" in repr(tied.layout)
    np.testing.assert_array_equal(tied.layout.ravel(tied.params), tied.vector)


def test_gradients_of_all_places_add_up(ps, tied):
    same = ps.set("decoder.weight", ps["encoder.weight"].T)
    separate, together = jax.grad(value)(same), jax.grad(value)(tied)
    expected = separate.vector[:12].reshape(3, 4) + separate.layout.unravel(separate.vector)["decoder.weight"].T
    np.testing.assert_allclose(together.vector[:12].reshape(3, 4), expected, rtol=1e-12)


def test_a_tie_survives_partition_transplant_and_batches(ps, tied):
    theta, frozen = partition(tied, trainable="decoder.weight")
    assert theta.layout.size == 12
    assert {e.path for e in theta.layout.entries} == {"encoder.weight", "decoder.weight"}
    np.testing.assert_array_equal(combine(theta, frozen)["decoder.weight"], tied["decoder.weight"])
    moved, report = transplant(tied, tied.replace(jnp.zeros_like(tied.vector)))
    np.testing.assert_array_equal(moved.vector, tied.vector)
    assert not report.new
    assert not report.reshaped
    batch = stack([tied, tied.replace(2 * tied.vector)])
    np.testing.assert_array_equal(batch["decoder.weight"][1], 2 * tied["decoder.weight"])


def test_whole_layers_share(ps):
    model = lux.Chain(*[lux.Dense(3, 3, jnp.tanh) for _ in range(3)])
    single, _ = lux.setup(jax.random.key(0), model)
    together = tie(single, ["layer_0", "layer_2"])
    assert together.layout.size == single.layout.size - 12
    np.testing.assert_array_equal(together["layer_2.weight"], together["layer_0.weight"])


def test_share_ties_within_a_model_wherever_it_stands():
    inner = lux.Share(lux.Chain(*[lux.Dense(3, 3, jnp.tanh) for _ in range(3)]), "layer_0", "layer_2")
    for model, prefix in ((inner, ""), (lux.Chain(first=lux.Dense(3, 3), block=inner), "block.")):
        ps, st = lux.setup(jax.random.key(0), model)
        assert ps.layout[f"{prefix}layer_2.weight"].size == 0
        np.testing.assert_array_equal(ps[f"{prefix}layer_2.weight"], ps[f"{prefix}layer_0.weight"])
        assert lux.parameter_length(model) == ps.layout.size
        y, _ = model(jnp.ones(3), ps, st)
        assert y.shape == (3,)
    with pytest.raises(PathError, match="layer_9"):
        lux.setup(jax.random.key(0), lux.Share(lux.Chain(lux.Dense(3, 3)), "layer_0", "layer_9"))
    with pytest.raises(lux.LuxError, match="equal structure"):
        lux.setup(jax.random.key(0), lux.Share(lux.Chain(lux.Dense(3, 3), lux.Dense(3, 2)), "layer_0", "layer_1"))


def test_what_cannot_be_tied_says_why(ps, tied):
    with pytest.raises(LayoutError, match="Transposed"):
        tie(ps, ["encoder.weight", "decoder.weight"])
    with pytest.raises(LayoutError, match="another tie"):
        tie(tied, ["decoder.weight", "encoder.weight"])
    with pytest.raises(LayoutError, match="at least two"):
        tie(ps, ["encoder.weight"])
    with pytest.raises(LayoutError, match="itself"):
        tie(ps, ["encoder.weight", "encoder.weight"])
    with pytest.raises(LayoutError, match=r"tied to encoder\.weight; set that"):
        tied.set("decoder.weight", jnp.zeros((4, 3)))
    with pytest.raises(PathError, match="decodr"):
        tie(ps, ["encoder.weight", "decodr.weight"])


def test_frozen_layers_keep_their_parameters_in_the_state():
    model = lux.Chain(lux.Frozen(lux.Dense(2, 3, jnp.tanh)), lux.Dense(3, 1))
    plain = lux.Chain(lux.Dense(2, 3, jnp.tanh), lux.Dense(3, 1))
    ps, st = lux.setup(jax.random.key(0), model)
    assert ps.layout.size == 4
    trained, trained_st = lux.setup(jax.random.key(1), plain)
    st = st.set("layer_0.parameters", trained.params.layer_0)
    ps = ps.set("layer_1", trained.params.layer_1)
    x = jnp.ones((5, 2))
    y, after = model(x, ps, st)
    np.testing.assert_array_equal(y, plain(x, trained, trained_st)[0])
    assert jax.tree.structure(after) == jax.tree.structure(st)
    assert lux.parameter_length(model) == 4


# Storage dtypes


def test_computing_in_bfloat16_over_a_float32_vector():
    ps, _ = lux.setup(jax.random.key(0), MODEL, dtype=jnp.float32)
    half = compute_dtype(ps, {"*.weight": jnp.bfloat16})
    assert half.vector is ps.vector
    assert half["encoder.weight"].dtype == jnp.bfloat16
    assert half["encoder.bias"].dtype == jnp.float32
    np.testing.assert_array_equal(half["encoder.weight"], ps["encoder.weight"].astype(jnp.bfloat16))
    gradient = jax.grad(lambda ps: jnp.sum(ps["encoder.weight"].astype(jnp.float32) ** 2))(half)
    assert gradient.vector.dtype == jnp.float32
    np.testing.assert_allclose(gradient.vector[:12], 2 * ps.vector[:12], rtol=1e-2)
    np.testing.assert_array_equal(half.layout.ravel(half.params)[12:16], ps.vector[12:16])
    with pytest.raises(LayoutError, match="floating"):
        compute_dtype(ps, {"*.weight": jnp.int32})


# Batches


def test_many_starts_are_single_starts_side_by_side():
    key = jax.random.key(3)
    ps, _ = lux.setup_batch(key, MODEL, 4)
    assert ps.vector.shape == (4, ps.layout.size)
    singles = [lux.setup(k, MODEL)[0] for k in jax.random.split(key, 4)]
    np.testing.assert_array_equal(ps.vector, stack(singles).vector)
    np.testing.assert_array_equal(pick(ps, 2).vector, singles[2].vector)
    assert pick(ps, jnp.array([0, 3])).vector.shape[0] == 2
    first, head = lux.Chain(lux.Dense(3, 4), lux.Dense(4, 3)), jnp.ones(3)
    many, states = lux.setup_batch(key, first, 4)
    ys, _ = jax.vmap(lambda ps, st: first(head, ps, st))(many, states)
    np.testing.assert_allclose(ys[1], first(head, pick(many, 1), lux.setup(key, first)[1])[0], rtol=1e-12)
    with pytest.raises(LayoutError, match="batch"):
        pick(singles[0], 0)
    with pytest.raises(LayoutError, match="differ"):
        stack([singles[0], many])
    with pytest.raises(lux.LuxError, match="number=0"):
        lux.setup_batch(key, MODEL, 0)


def test_averages_are_one_line_on_the_vector():
    ps, _ = lux.setup_batch(jax.random.key(0), MODEL, 3)
    soup = pick(ps, 0).replace(ps.vector.mean(0))
    np.testing.assert_allclose(soup["encoder.weight"], ps["encoder.weight"].mean(0), rtol=1e-12)


# Surgery


def test_a_vector_moves_into_a_changed_model_with_a_report():
    old = lux.Chain(lux.Dense(3, 4, jnp.tanh), lux.Dense(4, 2), lux.Scale(2))
    new = lux.Chain(lux.Dense(3, 4, jnp.tanh), lux.Dense(4, 4), lux.Dense(4, 2), lux.Dense(2, 2))
    source, target = lux.setup(jax.random.key(0), old)[0], lux.setup(jax.random.key(1), new)[0]
    moved, report = transplant(source, target, rename={"layer_1": "layer_2", "layer_2": "layer_3"})
    assert report.matched == ("layer_0.weight", "layer_0.bias", "layer_2.weight", "layer_2.bias", "layer_3.bias")
    assert report.new == ("layer_1.weight", "layer_1.bias")
    assert report.reshaped == ("layer_3.weight",)
    assert report.dropped == ()
    np.testing.assert_array_equal(moved["layer_2.weight"], source["layer_1.weight"])
    np.testing.assert_array_equal(moved["layer_1.weight"], target["layer_1.weight"])
    np.testing.assert_array_equal(moved["layer_3.weight"], target["layer_3.weight"])
    assert "reshaped    1  layer_3.weight" in repr(report)
    _, without = transplant(source, target)
    assert without.dropped == ()
    assert set(without.reshaped) >= {"layer_1.weight"}
    with pytest.raises(PathError, match="layer_9"):
        transplant(source, target, rename={"layer_9": "layer_1"})
    with pytest.raises(LayoutError, match="both be called"):
        transplant(source, target, rename={"layer_1": "layer_0"})


def test_a_removed_layer_is_reported_as_dropped():
    source, target = flatten({"a": jnp.ones(2), "b": jnp.ones(3)}), flatten({"b": jnp.zeros(3)})
    moved, report = transplant(source, target)
    assert report.dropped == ("a",)
    np.testing.assert_array_equal(moved["b"], source["b"])


# Optimisers that look at matrices


def test_per_leaf_shows_an_optimiser_the_arrays(ps):
    whole, by_leaf = optax.scale_by_trust_ratio(), lux.training.per_leaf(optax.scale_by_trust_ratio())
    gradient = jax.tree.map(jnp.cos, ps)
    updates, _ = by_leaf.update(gradient, by_leaf.init(ps), ps)
    arrays = ps.layout.unconstrained()
    tree, tree_gradient = arrays.unravel(ps.vector), arrays.unravel(gradient.vector)
    expected, _ = whole.update(tree_gradient, whole.init(tree), tree)
    np.testing.assert_allclose(updates.vector, arrays.ravel(expected), rtol=1e-12)
    flat_updates, _ = whole.update(gradient, whole.init(ps), ps)
    assert not np.allclose(updates.vector, flat_updates.vector)


def test_muon_trains_a_network_on_the_vector():
    model = lux.Chain(lux.Dense(2, 4, jnp.tanh), lux.Dense(4, 1))
    ps, st = lux.setup(jax.random.key(0), model)
    x = jax.random.normal(jax.random.key(1), (16, 2))

    def loss(ps, st, batch):
        y, st = model(batch, ps, st)
        return jnp.mean((y[:, 0] - batch[:, 0] * 0.5) ** 2), st

    fitted = lux.fit(loss, ps, st, lux.training.per_leaf(optax.contrib.muon(3e-2)), steps=60, data=x)
    assert fitted.losses[-1] < 0.2 * fitted.losses[0]


# The density over the vector


def test_the_log_determinant_of_a_layout_is_that_of_its_jacobian():
    ps = flatten(
        {
            "rate": lux.positive(0.5),
            "share": lux.bounded(jnp.array([0.2, 0.7]), 0.0, 1.0),
            "mixture": lux.flatten.simplex(jnp.array([0.2, 0.3, 0.5])),
            "plain": {"weight": jnp.ones((2, 2)), "constant": lux.fixed(2.0)},
        }
    )

    def free_coordinates(vector):
        shown = ps.layout.unravel(vector)
        return jnp.concatenate([shown.rate[None], shown.share, shown.mixture[:-1], shown.plain.weight.ravel()])

    expected = jnp.linalg.slogdet(jax.jacobian(free_coordinates)(ps.vector))[1]
    np.testing.assert_allclose(jax.jit(ps.layout.log_abs_det_jacobian)(ps.vector), expected, rtol=1e-10)
    direction = flatten({"orientation": {"axis": lux.flatten.unit_vector(jnp.array([0.6, 0.8]))}})
    with pytest.raises(lux.ParameterError, match=r"orientation\.axis"):
        direction.layout.log_abs_det_jacobian(direction.vector)


def test_of_two_paths_to_rename_the_longer_one_says_where_a_part_goes():
    source = flatten({"block": {"a": np.ones(2), "b": np.zeros(3)}})
    target = flatten({"moved": {"b": np.ones(3)}, "alone": np.zeros(2)})
    moved, report = transplant(source, target, rename={"block": "moved", "block.a": "alone"})
    assert report.matched == ("moved.b", "alone")
    np.testing.assert_array_equal(moved.vector, [0.0, 0.0, 0.0, 1.0, 1.0])
