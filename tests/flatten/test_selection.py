"""Selecting by name: masks, indices, sub-vectors, labels and blocks all speak of the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sciml_lux as lux
from sciml_lux import LayoutError, PathError
from sciml_lux.flatten import block, flatten, label_index, labels, per_group, select


@pytest.fixture(name="ps")
def parameters():
    tree = {
        "encoder": {
            f"layer_{i}": {"weight": jnp.full((2, 3), float(i)), "bias": jnp.full(3, i + 0.5)} for i in range(3)
        },
        "decoder": {"weight": jnp.arange(6.0).reshape(3, 2), "bias": jnp.zeros(2)},
        "rates": {"alpha": lux.positive(0.5), "capacity": lux.fixed(2.0)},
    }
    return flatten(tree)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("decoder", ["decoder.weight", "decoder.bias"]),
        ("decoder.weight", ["decoder.weight"]),
        ("*.bias", [f"encoder.layer_{i}.bias" for i in range(3)] + ["decoder.bias"]),
        ("encoder.layer_{0,2}.weight", ["encoder.layer_0.weight", "encoder.layer_2.weight"]),
        ("encoder.layer_{1..2}", [f"encoder.layer_{i}.{n}" for i in (1, 2) for n in ("weight", "bias")]),
        ("{decoder,rates}.{bias,alpha}", None),
        (["rates", "decoder.bias"], ["decoder.bias", "rates.alpha", "rates.capacity"]),
        (lambda path, entry: entry.shape == (3, 2), ["decoder.weight"]),
    ],
)
def test_a_pattern_selects_what_it_says(ps, pattern, expected):
    if expected is None:
        with pytest.raises(PathError, match=r"decoder\.alpha"):
            select(ps, pattern)
    else:
        assert list(select(ps, pattern).paths) == expected


@pytest.mark.parametrize("pattern", ["decoder", "*.bias", "rates", "*", ["encoder.layer_1", "rates.alpha"]])
def test_mask_indices_runs_labels_and_take_agree(ps, pattern):
    selection = select(ps, pattern)
    mask = selection.mask()
    np.testing.assert_array_equal(np.flatnonzero(mask), selection.indices)
    np.testing.assert_array_equal(selection.mask(np.float64), mask.astype(np.float64))
    np.testing.assert_array_equal(selection.take(ps), ps.vector[selection.indices])
    np.testing.assert_array_equal(jax.jit(selection.take)(ps.vector), ps.vector[selection.indices])
    assert selection.size == mask.sum() == len(selection.labels)
    assert [label_index(ps, label) for label in selection.labels] == list(selection.indices)
    assert all(start < stop for start, stop in selection.runs)
    assert "Selection of" in repr(selection)


def test_the_gradient_through_take_is_the_mask(ps):
    selection = select(ps, "*.bias")
    gradient = jax.grad(lambda vector: jnp.sum(selection.take(vector)))(ps.vector)
    np.testing.assert_array_equal(gradient, selection.mask(np.float64))


def test_take_keeps_leading_axes(ps):
    batch = jnp.stack([ps.vector, 2 * ps.vector])
    selection = select(ps, "decoder")
    np.testing.assert_array_equal(selection.take(batch), batch[:, selection.indices])


def test_labels_name_every_number_once(ps):
    names = labels(ps)
    assert len(names) == len(set(names)) == ps.layout.size
    assert ps.vector[label_index(ps, "decoder.weight[2,1]")] == ps["decoder.weight"][2, 1]
    assert "rates.alpha" in names


def test_by_layer_type():
    model = lux.Chain(lux.Dense(2, 3), lux.Scale(3), head=lux.Chain(lux.Dense(3, 1)))
    ps, _ = lux.setup(jax.random.key(0), model)
    assert lux.layer_paths(model, lux.Dense) == ("layer_0", "head.layer_0")
    assert select(ps, lux.layer_paths(model, lux.Scale)).paths == ("layer_1.weight", "layer_1.bias")
    with pytest.raises(PathError, match="no layer of type NoOp"):
        lux.layer_paths(model, lux.NoOp)


def test_blocks_of_a_hessian_and_of_a_jacobian(ps):
    def loss(ps):
        return jnp.sum(ps["decoder.weight"] ** 2) * ps["rates.alpha"] + jnp.sum(ps["encoder.layer_0.bias"] ** 3)

    hessian = jax.hessian(loss)(ps)
    dense = jax.hessian(lambda vector: loss(ps.replace(vector)))(ps.vector)
    rows, columns = select(ps, "decoder").indices, select(ps, "rates").indices
    np.testing.assert_array_equal(block(hessian, "decoder", "rates"), dense[np.ix_(rows, columns)])
    jacobian = jax.jacobian(lambda ps: ps["decoder.weight"] * ps["rates.alpha"])(ps)
    assert block(jacobian, "rates").shape == (3, 2, 1)
    np.testing.assert_allclose(block(jacobian, "rates")[..., 0], ps["decoder.weight"] * 0.5)
    with pytest.raises(LayoutError, match="give one for each"):
        block(hessian, "decoder")


def test_an_empty_or_unknown_selection_shows_the_nearest_names(ps):
    with pytest.raises(PathError, match=r"decodr\.weight.*decoder\.weight"):
        select(ps, "decodr.weight")
    with pytest.raises(PathError, match="selects none"):
        select(ps, lambda path, entry: False)
    with pytest.raises(PathError, match="selects nothing"):
        select(ps, [])
    with pytest.raises(PathError, match=r"no label 'decoder\.weight\[9,9\]'"):
        label_index(ps, "decoder.weight[9,9]")


def test_per_group_gives_each_number_its_groups_value(ps):
    rates = per_group(ps, {"*": 1e-3, "encoder": 1e-4, "encoder.layer_1.bias": 0.0})
    np.testing.assert_array_equal(rates[select(ps, "decoder").indices], 1e-3)
    np.testing.assert_array_equal(rates[select(ps, "encoder.layer_0").indices], 1e-4)
    np.testing.assert_array_equal(rates[select(ps, "encoder.layer_1.bias").indices], 0.0)
    with pytest.raises(LayoutError, match=r"no value for decoder\.weight"):
        per_group(ps, {"encoder": 1.0, "rates": 1.0})


def test_groups_are_learning_rates_and_weight_decays_for_optax(ps):
    """The vector with rates by group moves as the tree does under `optax.partition`, its many-transformations counterpart."""
    with jax.numpy_dtype_promotion("standard"):  # optax raises numbers to integer powers
        check_groups(ps)


def check_groups(ps):
    rates, decays = {"encoder": 1e-2, "rest": 1e-3}, {"encoder": 0.1, "rest": 0.0}
    flat = optax.adamw(
        jnp.asarray(per_group(ps, {"*": 1e-3, "encoder": 1e-2})),
        weight_decay=jnp.asarray(per_group(ps, {"*": 0.0, "encoder": 0.1})),
    )
    groups = {name: optax.adamw(rates[name], weight_decay=decays[name]) for name in rates}
    tree = dict(ps.layout.unconstrained().unravel(ps.vector))
    by_label = optax.partition(groups, {name: "encoder" if name == "encoder" else "rest" for name in tree})
    gradient = jax.tree.map(jnp.cos, ps)
    flat_updates, _ = flat.update(gradient, flat.init(ps), ps)
    tree_gradient = jax.tree.map(jnp.cos, tree)
    tree_updates, _ = by_label.update(tree_gradient, by_label.init(tree), tree)
    expected = ps.layout.unconstrained().ravel(lux.Params(tree_updates))
    np.testing.assert_allclose(flat_updates.vector, expected, rtol=1e-12)
