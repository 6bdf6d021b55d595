"""What every loss promises: aggregates, weights, masks, shapes, dtypes. Their figures: test_losses_figures.py."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
from helpers import refused
from hypothesis import example, given, settings
from hypothesis import strategies as st
from members import array

import sciml_lux as lux

losses = lux.losses


def bare(loss):
    """A loss without the options that were set."""
    return losses.gaussian_nll if loss is normal else loss.func if isinstance(loss, partial) else loss


def normal(predictions, targets, **options):
    variances = (
        0.5 + jnp.cos(jax.lax.stop_gradient(predictions)) ** 2
    )  # which a NaN outside of the loss shall not leave
    return losses.gaussian_nll(predictions, targets, variances, **options)


REAL, POSITIVE = array(4), jnp.exp(array(4))
SIGNS = jnp.array([1.0, -1.0, -1.0, 1.0])
YES_NO = jnp.array([0.0, 1.0, 1.0, 0.0])
LOGITS, CLASSES = array(4, 3), jax.nn.softmax(jnp.cos(3 * array(4, 3)))
LABELS = jnp.array([2, 0, 1, 1])

# Losses with predictions and targets from which four losses come.
CASES = [
    ("squared_error", losses.squared_error, REAL, jnp.cos(REAL)),
    ("absolute_error", losses.absolute_error, REAL, jnp.cos(REAL)),
    ("huber", partial(losses.huber, delta=0.3), REAL, jnp.cos(REAL)),
    ("smooth_l1", partial(losses.smooth_l1, beta=0.3), REAL, jnp.cos(REAL)),
    ("gaussian_nll", normal, REAL, jnp.cos(REAL)),
    ("log_cosh", losses.log_cosh, 3 * REAL, jnp.cos(REAL)),
    ("squared_logarithmic_error", losses.squared_logarithmic_error, POSITIVE, jnp.sqrt(POSITIVE)),
    ("poisson", losses.poisson, POSITIVE, jnp.round(3 * POSITIVE)),
    ("poisson of logarithms", partial(losses.poisson, log_rates=True), REAL, jnp.round(3 * POSITIVE)),
    ("quantile", partial(losses.quantile, level=0.9), REAL, jnp.cos(REAL)),
    ("cross_entropy of labels", losses.cross_entropy, LOGITS, LABELS),
    ("cross_entropy", partial(losses.cross_entropy, label_smoothing=0.1), LOGITS, CLASSES),
    ("binary_cross_entropy", losses.binary_cross_entropy, REAL, YES_NO),
    ("binary_cross_entropy of probabilities", partial(losses.binary_cross_entropy, logits=False), YES_NO * 0.8, YES_NO),
    ("focal of labels", losses.focal, LOGITS, LABELS),
    ("focal", partial(losses.focal, gamma=0.5), LOGITS, CLASSES),
    ("binary_focal", partial(losses.binary_focal, alpha=0.25), REAL, YES_NO),
    ("hinge", losses.hinge, REAL, SIGNS),
    ("squared_hinge", losses.squared_hinge, REAL, SIGNS),
    ("dice", losses.dice, CLASSES, jnp.round(CLASSES)),
    ("kl_divergence", losses.kl_divergence, LOGITS, CLASSES),
    ("siamese_contrastive", losses.siamese_contrastive, POSITIVE, YES_NO),
]  # fmt: skip
every_loss = pytest.mark.parametrize(
    ("loss", "predictions", "targets"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
WEIGHTS = jnp.array([0.5, 2.0, 0.0, 3.0])


def public_losses():
    return {value for name, value in vars(losses).items() if not name.startswith("_") and callable(value)}


def test_every_loss_is_listed():
    assert {bare(case[1]) for case in CASES} == public_losses()


# Aggregates and weights


@every_loss
def test_the_aggregates_are_those_of_the_single_losses(loss, predictions, targets):
    single = loss(predictions, targets, agg="none")
    assert single.shape == (4,)
    np.testing.assert_allclose(loss(predictions, targets, agg="sum"), np.sum(single), rtol=1e-14)
    np.testing.assert_allclose(loss(predictions, targets), np.mean(single), rtol=1e-14)


@every_loss
def test_weights_are_those_of_a_weighted_mean(loss, predictions, targets):
    single = loss(predictions, targets, agg="none")
    np.testing.assert_allclose(loss(predictions, targets, weights=jnp.ones(4)), np.mean(single), rtol=1e-14)
    np.testing.assert_allclose(
        loss(predictions, targets, weights=WEIGHTS), np.average(single, weights=WEIGHTS), rtol=1e-14
    )
    np.testing.assert_allclose(loss(predictions, targets, agg="sum", weights=WEIGHTS), single @ WEIGHTS, rtol=1e-14)
    np.testing.assert_array_equal(loss(predictions, targets, agg="none", weights=WEIGHTS), WEIGHTS * single)


@every_loss
def test_compiled_is_uncompiled_and_mapped_is_looped(loss, predictions, targets):
    whole = loss(predictions[:, None], targets[:, None], agg="none") if bare(loss) is not losses.dice else None
    compiled = jax.jit(loss)(predictions, targets, weights=WEIGHTS)
    np.testing.assert_allclose(compiled, loss(predictions, targets, weights=WEIGHTS), rtol=1e-13)
    if whole is not None:
        mapped = jax.vmap(partial(loss, agg="sum"))(predictions[:, None], targets[:, None])
        np.testing.assert_allclose(mapped, whole[:, 0], rtol=1e-13)


# Masks


def broken(x, mask, values):
    """`x` with `values` in turn where it is masked; labels get one that is no class."""
    bad = np.resize(values, x.shape).astype(x.dtype) if x.dtype == float else np.full(x.shape, -100)
    return jnp.where(jnp.reshape(mask, mask.shape + (1,) * (x.ndim - 1)), x, bad)


@every_loss
@settings(max_examples=2)
@example([False, True, False, True], [np.nan, np.inf, -np.inf])
@given(st.lists(st.booleans(), min_size=4, max_size=4), st.permutations([np.nan, np.inf, -np.inf]))
def test_masking_is_leaving_out_whatever_the_masked_numbers_are(loss, predictions, targets, mask, values):
    mask = np.array(mask)
    masked_targets = broken(targets, mask, values[::-1])
    weights = jnp.where(mask, WEIGHTS, jnp.nan)
    for options in ({}, {"weights": weights}):
        kept_options = {name: value[mask] for name, value in options.items()}

        @jax.jit
        def masked(p, options=options):
            total = jax.value_and_grad(lambda p: loss(p, masked_targets, mask=mask, agg="sum", **options))
            return *total(p), loss(p, masked_targets, mask=mask, **options)

        @jax.jit
        def kept(p, options=kept_options):
            total = jax.value_and_grad(lambda p: loss(p, targets[mask], agg="sum", **options))
            return *total(p), loss(p, targets[mask], **options)

        value, gradient, mean = masked(broken(predictions, mask, values))
        kept_value, kept_gradient, kept_mean = kept(predictions[mask])
        np.testing.assert_allclose(value, kept_value, rtol=1e-13)
        np.testing.assert_array_equal(gradient[~mask], 0)
        np.testing.assert_allclose(gradient[mask], kept_gradient, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(mean, kept_mean, rtol=1e-13)
    single = loss(broken(predictions, mask, values), masked_targets, mask=mask, agg="none")
    np.testing.assert_array_equal(single[~mask], 0)


@every_loss
def test_the_mean_of_nothing_is_zero(loss, predictions, targets):
    nothing = {"all masked": {"mask": jnp.zeros(4, bool)}, "all weights 0": {"weights": jnp.zeros(4)}}
    for options in nothing.values():
        value, gradient = jax.value_and_grad(lambda p: loss(p, targets, **options))(predictions)  # noqa: B023
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)
    assert loss(predictions[:0], targets[:0]) == 0


def test_masked_targets_and_weights_have_zero_gradient():
    mask = jnp.array([True, False])
    bad = jnp.array([1.0, jnp.nan])

    def value(targets, weights):
        return losses.squared_logarithmic_error(jnp.ones(2), targets, weights=weights, mask=mask)

    for gradient in jax.grad(value, argnums=(0, 1))(2 * bad, bad):
        assert np.isfinite(gradient).all()
        assert gradient[1] == 0


# Dtypes


@every_loss
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_the_dtype_of_the_predictions_is_kept(loss, predictions, targets, dtype):
    exact = loss(predictions.astype(dtype).astype(float), targets)
    narrow = targets.astype(dtype) if jnp.issubdtype(targets.dtype, jnp.floating) else targets
    for given_targets in (targets, narrow, np.asarray(targets)):  # as stored, as predicted, from NumPy
        got = loss(predictions.astype(dtype), given_targets, weights=jnp.ones(4))
        assert got.dtype == dtype
        np.testing.assert_allclose(float(got), exact, rtol=4 * float(jnp.finfo(dtype).eps), atol=1e-2)
    gradient = jax.grad(loss)(predictions.astype(dtype), narrow)
    assert gradient.dtype == dtype
    assert np.isfinite(gradient.astype(float)).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_sums_of_16_bits_are_taken_in_32(dtype):
    # 100,000 is no float16, and adding 1 to 256 changes nothing in bfloat16.
    assert losses.absolute_error(jnp.ones(100_000, dtype), jnp.zeros(100_000, dtype)) == 1


@pytest.mark.parametrize("targets", [np.array([True, False]), np.array([1, 0]), np.array([1, 0], np.uint8)])
def test_classes_may_be_booleans_or_whole_numbers(targets):
    predictions = jnp.array([0.3, -2.0], jnp.float32)
    for loss in (losses.binary_cross_entropy, losses.binary_focal, losses.siamese_contrastive, losses.dice):
        assert loss(predictions, targets) == loss(predictions, targets.astype(np.float32))
    if targets.dtype != bool:
        logits = jnp.stack([predictions, -predictions], 1)
        one_hot = np.array([[0, 1], [1, 0]])
        assert losses.cross_entropy(logits, targets) == losses.cross_entropy(logits, one_hot)


# Bad input


@every_loss
def test_nothing_is_broadcast(loss, predictions, targets):
    name = bare(loss).__name__
    wrong = [targets[:1], targets[None], targets[..., None], targets[:, :0] if targets.ndim > 1 else jnp.zeros(())]
    for bad in wrong:
        refused(lambda: loss(predictions, bad), lux.ShapeError, name, f"{bad.shape}", f"{predictions.shape}")  # noqa: B023
    for what in ("weights", "mask"):
        for bad in (jnp.ones((4, 1), bool), jnp.ones(1, bool), jnp.ones((), bool)):
            refused(
                lambda: loss(predictions, targets, **{what: bad}),  # noqa: B023
                lux.ShapeError,
                name,
                what,
                f"{bad.shape}",
                "(4,)",
            )


@every_loss
@pytest.mark.usefixtures("unchecked")
def test_options_and_dtypes_that_make_no_sense_are_refused(loss, predictions, targets):
    name = bare(loss).__name__
    error = lux.LayerError
    refused(lambda: loss(predictions, targets, agg="average"), error, name, "agg", "'average'", "'mean'")
    refused(lambda: loss(predictions, targets, agg=None), error, name, "agg")
    refused(lambda: loss(predictions, targets, mask=jnp.ones(4)), error, name, "mask", "float64", "mask != 0")
    refused(lambda: loss(predictions, targets, weights=jnp.ones(4, complex)), error, name, "weights", "complex128")
    refused(lambda: loss(jnp.ones(predictions.shape, int), targets), error, name, "predictions", "int64")
    refused(lambda: loss(predictions.astype(complex), targets), error, name, "predictions", "complex128", "imag")
    refused(lambda: loss(predictions, targets.astype(complex)), error, name, "targets", "complex128")


@pytest.mark.parametrize(
    ("loss", "option", "values"),
    [
        (losses.huber, "delta", [0.0, -1.0, "1", True, float("nan")]),
        (losses.smooth_l1, "beta", [-1.0, "1", True, float("nan")]),
        (losses.squared_logarithmic_error, "offset", [0.0, -1.0, None]),
        (losses.poisson, "epsilon", [-1e-8, "0"]),
        (losses.quantile, "level", [0.0, 1.0, 90, None]),
        (losses.cross_entropy, "label_smoothing", [-0.1, 1.1, None]),
        (losses.binary_cross_entropy, "label_smoothing", [-0.1, 1.1]),
        (losses.focal, "gamma", [-1.0, "2"]),
        (losses.binary_focal, "gamma", [-1.0]),
        (losses.binary_focal, "alpha", [-0.1, 1.5, "0.25"]),
        (losses.dice, "smoothing", [0.0, -1.0]),
        (losses.dice, "axes", [(2,), (0, -3)]),
        (losses.siamese_contrastive, "margin", [-1.0, None]),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_options_out_of_their_range_are_refused(loss, option, values):
    for value in values:
        refused(
            lambda: loss(array(2, 2), array(2, 2), **{option: value}),  # noqa: B023
            lux.LayerError,
            loss.__name__,
            option,
            repr(value),
        )


@pytest.mark.usefixtures("unchecked")
def test_what_could_be_mistaken_is_refused():
    refused(lambda: losses.hinge(array(2), jnp.array([True, False])), lux.LayerError, "-1 or 1", "jnp.where")
    refused(lambda: losses.cross_entropy(array(2, 3), array(2)), lux.ShapeError, "float64", "(2,)", "(2, 3)")
    refused(lambda: losses.cross_entropy(jnp.ones(()), jnp.ones(())), lux.ShapeError, "axis of classes")
    refused(lambda: losses.kl_divergence(array(2, 3), jnp.array([0, 1])), lux.ShapeError, "(2,)", "(2, 3)")


# In a fit


def test_a_fit_takes_one_for_its_loss(key):
    model = lux.Dense(2, 1)
    x = array(8, 2)
    y = x @ jnp.array([[1.5], [-0.5]]) + 0.25
    missing = jnp.zeros((8, 1), bool).at[3].set(True)
    y = jnp.where(missing, jnp.nan, y)

    def loss(ps, st, batch):
        predictions, st = model(x, ps, st)
        return losses.squared_error(predictions, y, mask=~missing), st

    fitted = lux.fit(loss, *lux.setup(key, model), optimistix.BFGS(1e-10, 1e-10), steps=50)
    np.testing.assert_allclose(fitted.ps.weight[:, 0], [1.5, -0.5], rtol=1e-6)
    np.testing.assert_allclose(fitted.ps.bias, [0.25], rtol=1e-6)
