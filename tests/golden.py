"""The parameters in `data/golden_v1.safetensors`. `python tests/golden.py` writes the file: once for each version of the format."""

import pathlib
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

import sciml_lux as lux
from sciml_lux.flatten import AbstractRavelMap, Parameter

PATH = pathlib.Path(__file__).parent / "data" / "golden_v1.safetensors"


@dataclass(frozen=True)
class Interleaved(AbstractRavelMap):
    """A map of a whole layer, with a field of every kind that a file holds."""

    count: int = 2
    text: str = "é"
    nothing: None = None
    flag: bool = True
    numbers: tuple = (1.5, (float("inf"), -0.0), ())
    inner: AbstractRavelMap = lux.flatten.Bounded(-1.0, float("inf"))
    dtype: np.dtype = np.dtype(jnp.bfloat16)
    spec: lux.flatten.ArraySpec = lux.flatten.ArraySpec((2, 0), np.dtype(np.float32))

    def size(self, spec):
        return sum(part.size for part in spec.values())

    def ravel(self, value, spec):
        return jnp.stack([value.left, value.right], axis=-1).reshape(-1)

    def unravel(self, segment, spec):
        pairs = segment.reshape(-1, 2)
        return lux.Params(left=pairs[:, 0], right=pairs[:, 1])


def golden() -> lux.FlatParams:
    """Known parameters: numbers whose maps are exact, so that every machine makes the same bytes."""
    tree = {
        "layer_10": {"weight": jnp.arange(6, dtype=jnp.float32).reshape(2, 3), "bias": jnp.zeros(3, jnp.float32)},
        "layer_9": {"nothing": {}, "none": jnp.zeros((0, 2), jnp.float32)},
        "rates": {
            "growth": lux.positive(1.0, unit="1/year"),
            "share": lux.bounded(0.5, 0.0, 1.0),
            "rest": lux.bounded(1.0, 0.0, float("inf")),
            "constant": lux.fixed((2.0, 3.0)),
        },
        "pair": Parameter(
            lux.Params(left=jnp.array([1.0, jnp.nan], jnp.float32), right=jnp.array([-0.0, jnp.inf], jnp.float32)),
            Interleaved(),
        ),
    }
    return lux.flatten.flatten(tree, jnp.float32)


if __name__ == "__main__":
    from golden import (
        golden as of_this_module,
    )  # the file says in which module a map was defined, which is not __main__

    lux.save(PATH, of_this_module())
