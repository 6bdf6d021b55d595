"""Ways of cutting the vector and joining the gradient, and why `kernels/_segments.py` is as it is.

python benchmarks/segments.py
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flatten import problem, separate_loss
from harness import alternate, compile_ratio, record, shown, table
from jax import lax

from sciml_lux.kernels import _segments

NOTE = (
    "`fused`: one `lax.split`, whose transpose is one concatenate, left to the compiler, which fuses each segment "
    "into its consumer and the reshapes into the concatenate. `apart`: the same two operations compiled apart "
    "(calls that are inlined only after fusion). `apart, shared`: also with offsets that the compiler cannot see "
    "through, so that segments of one length share a kernel: what the package does above 16 segments. `slices`: one"
    " slice for each array, whose transpose is a sum of padded vectors. Tried and dropped besides: a runtime "
    "conditional as a barrier (slower to compile than a call), writing the gradient by updates in place (runs as "
    "fast, compiles two to four times as long), blocks of equal shapes (rows of a block are slices again), metadata"
    " alone (does not stop fusion)."
)


def cutters(sizes: tuple[int, ...]) -> dict[str, Any]:
    """From a vector to its segments, in several ways."""
    offsets = [sum(sizes[:i]) for i in range(len(sizes))]
    return {
        "slices": lambda v: [v[start : start + size] for start, size in zip(offsets, sizes, strict=True)],
        "fused": lambda v: lax.split(v, sizes),
        "apart": lambda v: _segments._plain_split(sizes, v),
        "apart, shared": lambda v: _segments.split(v, sizes),
    }


def measure(depth: int, width: int) -> tuple[list[list[str]], Any]:
    _, ps, separate, x = problem(depth, width)
    sizes = (width * width, width) * depth

    def loss_through(cut: Any) -> Any:
        def loss(vector: Any, x: Any) -> Any:
            parts = cut(vector)
            weights = [part.reshape(width, width) for part in parts[::2]]
            return separate_loss([{"weight": w, "bias": b} for w, b in zip(weights, parts[1::2], strict=True)], x)

        return loss

    losses = {name: (loss_through(cut), ps.vector) for name, cut in cutters(sizes).items()}
    losses["separate arrays"] = (separate_loss, separate)

    def maker(name: str) -> Any:
        loss, params = losses[name]
        return jax.grad(lambda *arguments: loss(*arguments)), (params, x)

    compiled = compile_ratio({name: functools.partial(maker, name) for name in losses}, turns=1)
    runs = {name: functools.partial(jax.jit(jax.grad(loss)), params, x) for name, (loss, params) in losses.items()}
    ran = alternate(runs, turns=7)
    rows = [[f"{depth} x {width}", name, shown(compiled[name]), shown(ran[name])] for name in losses]
    return rows, {"compile": compiled, "run": ran}


def main() -> None:
    assert jnp.zeros(()).dtype == jnp.float32
    rows, figures = [], {}
    for depth, width in ((50, 32), (4, 256)):
        more, figures[f"{depth}x{width}"] = measure(depth, width)
        rows += more
    text = table(["layers", "the vector is cut by", "compile the gradient", "run it"], rows) + "\n\n" + NOTE
    record("segments", "Cutting the vector", text, figures)


if __name__ == "__main__":
    main()
