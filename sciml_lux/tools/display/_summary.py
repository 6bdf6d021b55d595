"""`summary`: what a model makes of an input of a given shape, layer by layer, and what that costs."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ...core import AbstractLayer, abstract_input, align, bytes_text, check_layer, node_of, setup, totals
from ._cost import Cost, cost_of, with_loops
from ._record import Call, record_calls

_TITLES = ("path", "layer", "output", "parameters", "states", "FLOPs")
_RIGHT = (False, False, False, True, True, True)
_CELL = 44  # characters of a layer or a shape that are shown


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a model. `path`: `""` for the model itself; `layer`: as it is printed; `output`: its shape, or a tree of shapes, None if
    the layer was not called; `parameters`, `states`: their numbers, the children's included; `flops`: of one call, None if unknown."""

    path: str
    layer: str
    output: Any
    parameters: int
    states: int
    flops: float | None


@dataclass(frozen=True)
class Summary:
    """What `summary` returns: prints as an aligned table, and shows as an HTML table in a notebook.

    `layers`: one `LayerSummary` each, the model first; `flops`: of the compiled forward pass; `gradient_flops`: of the result
    and its gradient with respect to the parameters, if asked for; `partial`: whether loops of unknown length were counted as
    one pass; `argument_bytes`, `output_bytes`, `temporary_bytes`: memory of the compiled forward pass; `totals`: parameters
    and states as a text. What XLA does not tell is None.
    """

    layers: tuple[LayerSummary, ...]
    flops: float | None
    gradient_flops: float | None
    partial: bool
    argument_bytes: int | None
    output_bytes: int | None
    temporary_bytes: int | None
    totals: str

    def __str__(self) -> str:
        lines = align([_TITLES, *map(_cells, self.layers)], _RIGHT)
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, *self._footer()])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = _html_row("th", _TITLES)
        body = "".join(_html_row("td", _cells(layer)) for layer in self.layers)
        foot = "<br>".join(html.escape(line) for line in self._footer())
        return (
            f"<table><thead>{head}</thead><tbody>{body}</tbody>"
            f'<tfoot><tr><td colspan="{len(_TITLES)}" style="text-align: left">{foot}</td></tr></tfoot></table>'
        )

    def _footer(self) -> list[str]:
        gradient = "" if self.gradient_flops is None else f"; with gradient: {_number(self.gradient_flops)} FLOPs"
        loops = " (loops of unknown length counted as one pass)" if self.partial else ""
        return [
            self.totals,
            f"forward: {_number(self.flops)} FLOPs{gradient}{loops}",
            f"memory: {_bytes(self.argument_bytes)} of arguments, {_bytes(self.output_bytes)} of results, "
            f"{_bytes(self.temporary_bytes)} in between",
        ]


def summary(model: AbstractLayer, input_shape: Any, *, dtype: Any = None, gradient: bool = False) -> Summary:
    """Every layer of a model by path: output shape, parameters, states and floating-point operations; and the memory that a call takes.

        print(lux.tools.summary(model, (32, 784)))

    Nothing is computed, but the forward pass is compiled, in the mode in which `lux.setup` leaves the state (training).

    **Arguments:** `model`; `input_shape`: a tuple of sizes, or for other inputs any tree of `jax.ShapeDtypeStruct`, as for
    `lux.output_shape`; `dtype`: of parameters and input (default: as for `lux.setup`); `gradient`: whether to count the
    operations of result and gradient too.

    **Returns:** a `Summary`. A layer that is called several times (by a solver, a `scan`) has the shapes and operations of one
    call; those of its container include all passes of a `scan`. Operations are what XLA's cost analysis counts: `2 m k n` for
    a product of an `(m, k)` by a `(k, n)` matrix, one for an addition, none for a transcendental function.

    **Errors:** those of the layers for an input of that shape, with the path.
    """
    check_layer(model)
    x = abstract_input(input_shape, dtype)
    ps, st = jax.eval_shape(lambda: setup(jax.random.key(0), model, dtype))
    calls = record_calls(model, x, ps, st)
    traced = jax.jit(lambda x, ps, st: model(x, ps, st)).trace(x, ps, st)
    compiled = traced.lower().compile()
    forward = with_loops(compiled.cost_analysis(), traced.jaxpr)
    memory = compiled.memory_analysis()
    known: dict[Any, Cost] = {}
    layers = []
    for path, node in node_of(model).walk():
        if not isinstance(node.layer, AbstractLayer):
            continue
        call = calls.get(path)
        flops = forward.flops if not path else None if call is None else _cost_of_call(call, known).flops
        output = None if call is None else call.output
        layers.append(LayerSummary(path, node.call(), output, node.parameters, node.states, flops))
    return Summary(
        tuple(layers),
        forward.flops,
        cost_of(jax.value_and_grad(_sum_of(model)), ps, x, st).flops if gradient else None,
        forward.partial,
        None if memory is None else memory.argument_size_in_bytes,
        None if memory is None else memory.output_size_in_bytes,
        None if memory is None else memory.temp_size_in_bytes,
        totals(ps.layout, st),
    )


def _cost_of_call(call: Call, known: dict[Any, Cost]) -> Cost:
    """The cost of one call on its own; that of an equal layer with equal shapes if there was one."""
    key = (call.layer, call.arrays)
    if key not in known:
        known[key] = cost_of(call.run, list(call.arrays))
    return known[key]


def _sum_of(model: AbstractLayer) -> Any:
    def total(ps: Any, x: Any, st: Any) -> Any:
        leaves = jax.tree.leaves(model(x, ps, st)[0])
        return sum(jnp.sum(leaf) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating))

    return total


def _cells(layer: LayerSummary) -> tuple[str, ...]:
    output = "not called" if layer.output is None else str(layer.output)
    name = layer.path or "(the top)"
    return (
        name,
        _shortened(layer.layer),
        _shortened(output),
        f"{layer.parameters:,}",
        f"{layer.states:,}",
        _number(layer.flops),
    )


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _CELL else f"{text[: _CELL - 4]} ..."


def _number(number: float | None) -> str:
    return "?" if number is None else f"{number:,.0f}"


def _bytes(number: int | None) -> str:
    return "?" if number is None else bytes_text(number)


def _html_row(tag: str, cells: Sequence[str]) -> str:
    aligned = zip(cells, _RIGHT, strict=True)
    return (
        "<tr>"
        + "".join(
            f'<{tag} style="text-align: {"right" if right else "left"}">{html.escape(cell)}</{tag}>'
            for cell, right in aligned
        )
        + "</tr>"
    )
