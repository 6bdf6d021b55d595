"""The gradient of `x @ weight` in the weight: JAX's own against `kernels/_product.py`, in a step of gradient descent.

python benchmarks/products.py
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from harness import alternate, record, shown, table
from jax import lax

from sciml_lux.kernels._product import product

SHAPES = (
    (128, 256, 10),
    (512, 64, 16),
    (512, 512, 128),
    (2048, 64, 2),
    (2048, 256, 16),
    (2048, 512, 4),
    (64, 256, 16),
    (32, 512, 8),
    (64, 512, 128),
)
KEY = jax.random.key(0)


def steps(multiply: Callable[[Any, Any], Any], number: int = 20) -> Callable[[Any, Any, Any], Any]:
    """Gradient descent on the weight behind a relu, in a compiled loop."""

    @jax.jit
    def run(weight: Any, x: Any, target: Any) -> Any:
        def loss(weight: Any, shift: Any) -> Any:
            return jnp.mean((multiply(jax.nn.relu(x + shift), weight) - target) ** 2)

        def step(weight: Any, _: Any) -> Any:
            return weight - 1e-3 * jax.grad(loss)(weight, weight[0, 0]), None

        return lax.scan(step, weight, length=number)[0]

    return run


def main() -> None:
    rows, figures = [], {}
    for samples, inputs, outputs in SHAPES:
        x = jax.random.normal(KEY, (samples, inputs))
        arguments = (jnp.ones((inputs, outputs)), x, jnp.ones((samples, outputs)))
        ways = {"JAX": steps(lambda x, weight: x @ weight), "sciml_lux": steps(product)}
        taken = alternate({name: functools.partial(run, *arguments) for name, run in ways.items()})
        figures[f"{samples}x{inputs}x{outputs}"] = taken
        rows.append([samples, inputs, outputs, *map(shown, taken.values()), f"{taken['sciml_lux'] / taken['JAX']:.2f}"])
    text = table(["samples", "inputs", "outputs", "JAX", "sciml_lux", "ratio"], rows)
    note = (
        "Twenty steps of gradient descent on one weight. With more outputs than a fourth of the inputs or of the samples, or "
        "fewer than 16384 numbers in `x`, both are the same product: the last row."
    )
    record("products", "Products with few outputs", f"{text}\n\n{note}", figures)


if __name__ == "__main__":
    main()
