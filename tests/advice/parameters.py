"""What to write where parameters are declared, read, changed or saved wrongly."""

import jax.numpy as jnp
import numpy as np
from helpers import setup

import sciml_lux as lux
from sciml_lux.flatten import FlatParams

from .specimens import DENSE, KEY, PS, ST, Declares, Tensor, X

CASES = [
    (
        "flatten/_batch.py: write stack([ps_1, ps_2])",
        lambda: lux.flatten.stack(PS),
        ({"stack": lux.flatten.stack, "ps_1": PS, "ps_2": PS}, None),
    ),
    (
        "flatten/_declare.py: Write {}, or return it",
        lambda: setup(Declares(lambda: 1)),
        lambda: setup(Declares(lambda: 1.0)),
    ),
    (
        "flatten/_declare.py: Write jnp.asarray(value, float)",
        lambda: setup(Declares(lambda: [1, 2])),
        ({"value": [1, 2]}, lambda value: setup(Declares(lambda: value))),
    ),
    (
        "flatten/_declare.py: Write value.astype(float)",
        lambda: setup(Declares(lambda: np.arange(2))),
        ({"value": np.arange(2)}, lambda value: setup(Declares(lambda: value))),
    ),
    (
        "flatten/_declare.py: write ps.params",
        lambda: lux.flatten.flatten({"a": PS}),
        ({"ps": PS}, lambda params: lux.flatten.flatten({"a": params})),
    ),
    (
        "flatten/_flat_params.py: write lux.layout_of(layer)",
        lambda: FlatParams(PS.vector, {}),
        lambda: [
            FlatParams(PS.vector, lux.layout_of(DENSE)),
            FlatParams(PS.vector, PS.layout),
            lux.flatten.flatten({"a": X}),
        ],
    ),
    (
        "flatten/_flat_params.py: write jnp.asarray({}, {})",
        lambda: PS.replace([0.0] * 6),
        ({"vector": [0.0] * 6}, PS.replace),
    ),
    (
        "flatten/_flat_params.py: write jnp.asarray({}, {})",
        lambda: PS.replace(Tensor(np.zeros(6))),
        ({"vector": Tensor(np.zeros(6))}, PS.replace),
    ),
    ("flatten/_flat_params.py: write ps.vector.{}", lambda: PS.mean, ({"ps": PS}, lambda mean: mean())),
    (
        "flatten/_layout.py: Write vector.astype({})",
        lambda: PS.replace(PS.vector.astype(jnp.float32)),
        ({"vector": PS.vector.astype(jnp.float32)}, PS.replace),
    ),
    (
        "flatten/_layout.py: write lux.layout_of(layer, dtype)",
        lambda: lux.layout_of(PS, jnp.float32),
        ({"layer": DENSE, "dtype": jnp.float32}, lambda layout: layout),
    ),
    (
        "flatten/_layout.py: write lux.flatten.flatten(tree)",
        lambda: lux.layout_of({"a": X}),
        ({"tree": {"a": X}}, lambda ps: lux.layout_of(ps)),
    ),
    (
        "flatten/maps/_matrices.py: write (value + value.T) / 2",
        lambda: lux.flatten.symmetric(np.array([[1.0, 2.0], [3.0, 4.0]])),
        lambda: lux.flatten.symmetric(np.array([[1.0, 2.5], [2.5, 4.0]])),
    ),
    (
        "flatten/_parameter.py: write lux.flatten.complex_value",
        lambda: lux.real(1j),
        lambda: lux.flatten.complex_value(1j),
    ),
    (
        "flatten/_ravel_entry.py: write jnp.asarray(value)",
        lambda: PS.set("bias", [1.0, 2.0]),
        ({"value": [1.0, 2.0]}, lambda value: PS.set("bias", value)),
    ),
    (
        "flatten/maps/_ravel_map.py: write type(value)",
        lambda: lux.flatten.register_ravel_map(3),
        lambda: lux.flatten.register_ravel_map(int),
    ),
    (
        "flatten/names/_tie.py: write through=Transposed()",
        lambda: lux.flatten.tie(
            setup(lux.Chain(lux.Dense(2, 3), lux.Dense(3, 2)))[0], ["layer_0.weight", "layer_1.weight"]
        ),
        lambda: lux.flatten.tie(
            setup(lux.Chain(lux.Dense(2, 3), lux.Dense(3, 2)))[0],
            ["layer_0.weight", "layer_1.weight"],
            through=lux.flatten.Transposed(),
        ),
    ),
    (
        "flatten/maps/_vectors.py: write value / value.sum",
        lambda: setup(Declares(lambda: lux.flatten.simplex(np.array([1.0, 2.0])))),
        ({"value": np.array([1.0, 2.0])}, lambda value: setup(Declares(lambda: lux.flatten.simplex(value)))),
    ),
    (
        "flatten/_flat_params.py: write jnp.array_equal(ps.vector, other.vector)",
        lambda: PS.replace(PS.vector) == PS,
        ({"ps": PS, "other": PS}, None),
    ),
    (
        "flatten/_flat_params.py: write ps.set({}, value)",
        lambda: setattr(PS, "bias", X),
        ({"ps": PS, "value": X}, None),
    ),
    (
        "flatten/_named_tree.py: write {}.set({}, value)",
        lambda: setattr(setup(lux.BatchNorm(2))[1], "running_mean", X),
        ({"st": setup(lux.BatchNorm(2))[1], "value": X}, None),
    ),
    (
        "flatten/_named_tree.py: write jax.tree.all",
        lambda: PS.params == PS.replace(PS.vector + 1).params,
        ({"tree": PS.params, "other": PS.params}, None),
    ),
    ("flatten/files/_file.py: write lux.save(path, ps)", lambda: lux.save("never", ST), lambda: lux.setup(KEY, DENSE)),
    (
        "flatten/files/_file.py: write lux.save(path, lux.flatten.flatten(params))",
        lambda: lux.save("never", PS.params),
        lambda: lux.flatten.flatten(PS.params),
    ),
    (
        "flatten/_exact_arrays.py: write value.real",
        lambda: PS.set("bias", np.ones(2) * 1j),
        ({"value": np.ones(2) * 1j}, lambda value: PS.set("bias", value)),
    ),
    ("flatten/_named_tree.py: write {}", lambda: PS.params.mean, ({"tree": {"path": X}}, None)),
]
