"""What the benchmarks of deep equilibria share: `z = tanh(z W + x U + b)`, 128 numbers a sample, 128 samples, float32."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sciml_lux as lux
from sciml_lux import solvers

SIZE = BATCH = 128
TOLERANCE, MEMORY, MOST = 1e-4, 5, 100
MODERATE, STIFF = 0.9, 2.0  # spectral norms of W
RELATIVE: dict[str, Any] = {"rtol": TOLERANCE, "atol": 0.0, "criterion": "relative"}
ANDERSON = solvers.Anderson(**RELATIVE, memory=MEMORY)


def weight(norm: float, seed: int) -> np.ndarray:
    """A random matrix of that spectral norm."""
    matrix = np.random.default_rng(seed).normal(size=(SIZE, SIZE))
    return (matrix * norm / np.linalg.norm(matrix, 2)).astype(np.float32)


DRAW = np.random.default_rng(0)
INPUT = (DRAW.normal(size=(SIZE, SIZE)) / SIZE**0.5).astype(np.float32)
X, OTHERS = (DRAW.normal(size=(BATCH, SIZE)).astype(np.float32) for _ in range(2))
Y = np.tanh(DRAW.normal(size=(BATCH, SIZE))).astype(np.float32)

ARRAYS = (jnp.asarray(X), jnp.asarray(Y))


class Cell(lux.AbstractLayer):
    """`tanh(z W + u)` of the pair `(z, u)`."""

    norm: float

    def initial_parameters(self, key: Any) -> dict[str, Any]:
        return {"weight": jnp.asarray(weight(self.norm, 1))}

    def __call__(self, z_and_u: Any, ps: Any, st: Any) -> Any:
        z, u = z_and_u
        return jnp.tanh(z @ ps["weight"] + u), st


def model_of(norm: float = MODERATE, *, solver: Any = ANDERSON, cell: Any = None, **settings: Any) -> Any:
    """Our model, its parameters and its state."""
    deq = lux.DeepEquilibrium(cell or Cell(norm), solver=solver, max_steps=settings.pop("max_steps", MOST), **settings)
    model = lux.Chain(lux.Dense(SIZE, SIZE, init_weight=lambda *_: jnp.asarray(INPUT), init_bias=lux.init.zeros()), deq)
    ps, st = lux.setup(jax.random.key(0), model)
    return model, ps, st


def loss_of(model: Any) -> Any:
    def loss(ps: Any, st: Any, x: Any, y: Any) -> Any:
        z, st = model(x, ps, st)
        return jnp.mean((z - y) ** 2), (z, st)

    return jax.value_and_grad(loss, has_aux=True)
