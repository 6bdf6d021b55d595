"""Optimisers of optax in a fit: on one vector they do what they do to parameters one by one, or they are given those."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import refused, setup

import sciml_lux as lux
from sciml_lux import LayerError
from sciml_lux.training import _optimizers, per_leaf

MODEL = lux.Chain(lux.Dense(2, 3, jnp.tanh), lux.Dense(3, 2))
PS, ST = setup(MODEL)
CURVATURE = jnp.exp(jnp.sin(jnp.arange(float(PS.layout.size))))
contrib = optax.contrib


def loss(ps, st, batch):
    """A quadratic function of the vector: its gradient is closed, so that the two ways differ by the optimiser alone."""
    return jnp.sum(CURVATURE * (ps.vector - 0.3) ** 2), st


def matrices(params):
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def first_layer(params):
    return jax.tree_util.tree_map_with_path(lambda path, leaf: "layer_0" if "layer_0" in str(path) else "rest", params)


# Whether each is the same on one vector.
OPTIMIZERS = {
    "sgd": (optax.sgd(0.05), True),
    "adam": (optax.adam(1e-2), True),
    "adamw": (optax.adamw(1e-2), True),
    "lbfgs": (optax.lbfgs(), True),
    "clipped by the norm of all": (optax.chain(optax.clip_by_global_norm(0.1), optax.adam(1e-2)), True),
    "schedule": (optax.adam(optax.exponential_decay(1e-2, 5, 0.5)), True),
    "injected": (optax.inject_hyperparams(optax.adam)(1e-2), True),
    "accumulated": (optax.MultiSteps(optax.sgd(0.05), 2, accumulator_dtype=jnp.float64), True),
    "masked decay": (optax.adamw(1e-2, weight_decay=1.0, mask=matrices), False),
    "weak masked decay": (optax.adamw(1e-2, weight_decay=1e-6, mask=matrices), False),
    "masked decay, accumulated": (optax.MultiSteps(optax.adamw(1e-2, weight_decay=1.0, mask=matrices), 3), False),
    "masked decay with a line search": (
        optax.chain(optax.adamw(1e-2, weight_decay=1.0, mask=matrices), optax.scale_by_backtracking_linesearch(5)),
        False,
    ),
    "by names": (optax.multi_transform({"layer_0": optax.sgd(0.05), "rest": optax.adam(1e-2)}, first_layer), False),
    "muon": (contrib.muon(1e-2), False),
    "lamb": (optax.lamb(1e-2), False),
    "lars": (optax.lars(1e-2), False),
    "adafactor": (optax.adafactor(1e-2), False),
    "factored": (optax.chain(optax.scale_by_factored_rms(min_dim_size_to_factor=2), optax.scale(-1e-2)), False),
    "adaptive clipping": (optax.chain(optax.adaptive_grad_clip(0.01), optax.adam(1e-2)), False),
    "clipped by block": (optax.chain(optax.clip_by_block_rms(0.01), optax.sgd(0.05)), False),
    "trust ratio": (optax.chain(optax.scale_by_trust_ratio(), optax.sgd(0.01)), False),
    "centralized": (optax.chain(optax.centralize(), optax.sgd(0.01)), False),
    "sm3": (optax.sm3(0.1), False),
    "novograd": (optax.novograd(1e-2), False),
    "noise": (optax.noisy_sgd(1e-2, key=1), False),  # of which each parameter has its own
    "polyak": (optax.polyak_sgd(), True),
    "prodigy": (contrib.prodigy(0.1), True),
    "momo": (contrib.momo(0.1), True),
    "sophia": (contrib.sophia(1e-3), True),
    "galore": (contrib.galore(1e-2, rank=2), False),
    "plateau": (optax.chain(optax.adam(1e-2), contrib.reduce_on_plateau(patience=2)), True),
    "lookahead": (optax.lookahead(optax.adam(1e-2), 3, 0.5), True),
    "lookahead of muon": (optax.lookahead(contrib.muon(1e-2), 3, 0.5), False),
    "schedule-free": (contrib.schedule_free_adamw(1e-2), True),
    "sam": (contrib.sam(optax.sgd(0.05), optax.chain(contrib.normalize(), optax.sgd(0.01)), opaque_mode=True), True),
}
FAST = {"adam", "masked decay"}
names = [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in OPTIMIZERS]


@pytest.mark.parametrize("name", names)
@pytest.mark.filterwarnings("ignore:Specifying a key will be required")
def test_a_fit_does_to_the_vector_what_the_optimizer_does_to_parameters(name):
    optimizer, on_vector = OPTIMIZERS[name]
    fitted = lux.fit(loss, PS, ST, optimizer, steps=7)
    alone = lux.fit(loss, PS, ST, per_leaf(_optimizers._adapted(_optimizers.as_transformation(optimizer))), steps=7)
    np.testing.assert_allclose(fitted.losses, alone.losses, rtol=1e-9)
    np.testing.assert_allclose(fitted.ps.vector, alone.ps.vector, rtol=1e-7, atol=1e-12)
    chosen = _optimizers._choose(_optimizers.as_transformation(optimizer), PS.layout)
    assert ("per_leaf" not in chosen.init.__qualname__) == on_vector


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if OPTIMIZERS[name][1]])
def test_what_is_known_to_be_alike_is_found_to_be(name, monkeypatch):
    monkeypatch.setattr(_optimizers, "_is_elementwise", lambda update: False)
    chosen = _optimizers._choose(_optimizers.as_transformation(OPTIMIZERS[name][0]), PS.layout)
    assert "per_leaf" not in chosen.init.__qualname__


def test_what_is_known_to_be_alike():
    known = {name for name, (optimizer, _) in OPTIMIZERS.items() if _optimizers._is_elementwise(optimizer.update)}
    assert {"sgd", "adam", "adamw", "lbfgs", "schedule", "clipped by the norm of all"} <= known
    assert all(OPTIMIZERS[name][1] for name in known)
    assert not _optimizers._is_elementwise(optax.scale(np.ones(3)).update)  # of the length of one of the two


@pytest.mark.slow
def test_a_large_model_is_tried_on_few_numbers_of_every_kind():
    model = lux.Chain(*[lux.Dense(500, 500) for _ in range(100)], lux.Conv(300, 200, (3, 3)))
    small = _optimizers._stand_in(lux.layout_of(model))
    shapes = {entry.spec.shape for entry in small.entries}
    assert shapes == {(130, 130), (130,), (3, 3, 130, 130)}
    assert small.size < 300_000


@pytest.mark.slow
def test_settings_made_for_the_vector_stay_with_it():
    decay = lux.flatten.per_group(PS, {"*.weight": 0.5, "*.bias": 0.0})
    fitted = lux.fit(loss, PS, ST, optax.chain(optax.add_decayed_weights(decay), optax.sgd(0.05)), steps=5)
    masked = optax.chain(optax.add_decayed_weights(0.5, mask=matrices), optax.sgd(0.05))
    np.testing.assert_allclose(fitted.ps.vector, lux.fit(loss, PS, ST, masked, steps=5).ps.vector, rtol=1e-12)


@pytest.mark.slow
def test_a_schedule_free_optimizer_ends_at_its_average():
    optimizer, point = contrib.schedule_free_sgd(0.05), PS
    state = optimizer.init(point)
    for _ in range(6):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(jax.grad(lambda ps: loss(ps, ST, None)[0])(point), state, point)
            point = optax.apply_updates(point, updates)
    fitted = lux.fit(loss, PS, ST, optimizer, steps=6)
    average = contrib.schedule_free_eval_params(state, point)
    np.testing.assert_allclose(fitted.ps.vector, average.vector, rtol=1e-12)
    assert fitted.value == pytest.approx(float(loss(average, ST, None)[0]))


def test_optimizers_that_cannot_run_say_what_to_write():
    fit = lambda optimizer: lux.fit(loss, PS, ST, optimizer, steps=3)  # noqa: E731
    refused(lambda: fit(contrib.sam(optax.sgd(0.1), optax.sgd(0.1))), LayerError, "write", "opaque_mode=True")
    labels = optax.multi_transform({"a": optax.sgd(0.1)}, {"layer_0": "a", "layer_1": "a"})
    text = refused(lambda: fit(labels), LayerError, "neither on one vector nor on the parameters leaf by leaf")
    assert "mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)" in text
