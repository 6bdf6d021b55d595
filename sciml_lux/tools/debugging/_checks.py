"""What debug mode does around every layer: look for what is not finite, and for exceptions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._errors import DebugError
from ...core import children_of, differentiation_mode, observed, short, split_arrays
from ._measure import Line, Measured, lines_of

# The error that a compiled program met last: what comes out of the program is JAX's own error, with the text of this one.
_met: list[DebugError] = []


@dataclass(frozen=True)
class Checks:
    """The observer (`core.observed`) that raises `DebugError` at the first layer that goes wrong."""

    forward: bool
    backward: bool

    def __call__(self, path: str, layer: Any, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        site = Site(path, layer)
        run = partial(self._forward, site, call)
        # Forward differentiation has no backward pass, and JAX lets no rule for the one through the other.
        if not self.backward or differentiation_mode.value == "forward":
            return run(*given, **named)
        return _with_backward(site, run, given, named)

    def _forward(self, site: "Site", call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        before = site.inputs(*given, **named)
        if self.forward and children_of(site.layer):  # before the children see it, and are blamed for it
            given = _enforce(site, _forward_fault, before, given)
        try:
            y, st = call(*given, **named)
        except Exception as error:
            _explain(site, before, error)
        if self.forward:
            y, st = _enforce(site, _forward_fault, before | {"output": y, "new state": site.own(st)}, (y, st))
        return y, st


@dataclass(frozen=True)
class Site:
    """A layer at its place in the model."""

    path: str
    layer: Any

    def own(self, tree: Any) -> Any:
        """What of parameters or state is the layer's own, not that of its children."""
        inner = children_of(self.layer)
        return type(tree)({name: value for name, value in tree.items() if name not in inner})

    def inputs(self, x: Any, ps: Any, st: Any, *rest: Any, **named: Any) -> dict[str, Any]:
        """What a call is given, by group."""
        extra = {str(i): value for i, value in enumerate(rest, 1)} | named
        return {"input": {"x": x} | extra if extra else x, "parameters": self.own(ps), "state": self.own(st)}

    def error(self, culprit: str, text: str, measured: Measured) -> DebugError:
        """The error that says what happened here."""
        headline = f"{self.path or '(the top)'}: {short(self.layer)}: {text}"
        error = DebugError("\n".join([headline, measured.table()]).rstrip())
        error.path, error.culprit = self.path, culprit
        return error


def _forward_fault(measured: Measured) -> tuple[str, str] | None:
    """The culprit and what to say of it, or None.

    Infinite inputs and states may be meant (a mask, a running maximum): they are reported once a result is infinite.
    """
    faults = {group: measured.faults(group) for group in ("input", "parameters", "state", "output", "new state")}
    wrong = (
        any("NaN" in fault for fault in faults.values())
        or faults["parameters"]
        or faults["output"]
        or measured.count("new state", infinite=True) > measured.count("state", infinite=True)
    )
    if not wrong:
        return None
    for group, verb in (("input", "holds"), ("parameters", "hold"), ("state", "holds")):
        if faults[group]:
            return group, f"its {group} {verb} {faults[group]}{measured.where(group)}"
    if faults["output"]:
        return "output", f"it makes {faults['output']} from finite input, parameters and state"
    return (
        "state",
        f"it makes {faults['new state']} in its state{measured.where('new state')} from finite input, parameters and state",
    )


def _backward_fault(measured: Measured) -> tuple[str, str] | None:
    came, *made = [f"cotangent of the {group}" for group in ("output", "parameters", "input", "state")]
    if fault := measured.faults(came):
        return came, f"backward, the {came} holds {fault} when it comes"
    for group in made:
        if fault := measured.faults(group):
            return group, f"backward, it makes {fault} in the {group}{measured.where(group)} from a finite {came}"
    return None


Fault = Callable[[Measured], tuple[str, str] | None]


def _enforce(site: Site, fault: Fault, groups: dict[str, Any], result: Any) -> Any:
    """`result`, after the groups are found without fault: now if their numbers are known, else when the program runs."""
    with observed(None):  # what is computed here is compiled once, not once for each layer
        lines, numbers = lines_of(groups)
        if isinstance(numbers, np.ndarray):
            _judge(site, fault, lines, numbers)
            return result
        judge = partial(_judge_in_program, site, fault, lines)
        try:
            wrong = jax.pure_callback(judge, jax.ShapeDtypeStruct((), bool), numbers, vmap_method="expand_dims")
        except Exception as error:  # mapped over, but not compiled: the program is this call alone
            raise _from_program(error) or error from None
        # What comes after waits for the verdict, so that the first fault is the one that is reported.
        return jax.tree.map(partial(_unless, wrong), result)


def _judge(site: Site, fault: Fault, lines: tuple[Line, ...], numbers: np.ndarray) -> None:
    measured = Measured(lines, numbers)
    if found := fault(measured):
        raise site.error(*found, measured)


def _judge_in_program(site: Site, fault: Fault, lines: tuple[Line, ...], numbers: Any) -> np.ndarray:
    numbers = np.asarray(numbers)
    try:
        _judge(site, fault, lines, numbers)
    except DebugError as error:
        _met[:] = [error]
        raise
    return np.zeros(numbers.shape[:-2], bool)


def _from_program(error: Exception) -> DebugError | None:
    """The error behind the one of JAX that came out of a compiled program, if it was one of debug mode."""
    return _met.pop() if _met and str(_met[0]).partition("\n")[0] in str(error) else None


def _unless(wrong: Any, leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array) or jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return leaf
    return lax.select(jnp.broadcast_to(wrong, leaf.shape), lax.full_like(leaf, 0), leaf)


def _explain(site: Site, groups: dict[str, Any], error: Exception) -> NoReturn:
    """Raises what debug mode has to say of an exception in a layer."""
    if isinstance(error, DebugError):
        raise error
    if found := _from_program(error):
        raise found from None
    with observed(None):
        lines, numbers = lines_of(groups)
    measured = Measured(lines, numbers if isinstance(numbers, np.ndarray) else None)
    raise site.error("exception", f"it raises {type(error).__name__}: {error}", measured) from error


def _with_backward(site: Site, run: Callable[..., Any], given: Any, named: Any) -> Any:
    """`run(*given, **named)`, whose backward pass is checked."""
    arrays, join = split_arrays((given, named))

    def plain(arrays: Any) -> Any:
        given, named = join(arrays)
        return run(*given, **named)

    def forward(arrays: Any) -> Any:
        result, pullback = jax.vjp(plain, arrays)
        return result, (pullback, arrays, result)

    def backward(kept: Any, cotangents: Any) -> Any:
        pullback, arrays, result = kept
        came = {"cotangent of the output": cotangents[0]}
        given, named = join(arrays)
        groups = site.inputs(*given, **named) | {"output": result[0]} | came
        if children_of(site.layer):
            cotangents = _enforce(site, _backward_fault, groups, cotangents)
        try:
            (made,) = pullback(cotangents)
        except Exception as error:
            _explain(site, groups, error)
        given, named = join(made)
        made_groups = {f"cotangent of the {group}": value for group, value in site.inputs(*given, **named).items()}
        return (_enforce(site, _backward_fault, groups | made_groups, made),)

    checked = jax.custom_vjp(plain)
    checked.defvjp(forward, backward)
    return checked(arrays)
