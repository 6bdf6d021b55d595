"""The errors of this package.

    Exception
    └── LuxError
        ├── PathError        (KeyError)    a path names nothing; the nearest names are shown
        ├── IndexRangeError  (IndexError)  an index beyond what there is
        ├── LayoutError      (ValueError)  a vector or a tree does not fit a layout
        ├── ParameterError   (TypeError)   something that cannot be a parameter was declared as one, or parameters were used as an array
        ├── LayerError       (TypeError)   a layer breaks the contract `layer(x, ps, st) -> (y, st)`
        ├── ShapeError       (ValueError)  an input does not fit the layer that got it
        ├── FileFormatError  (ValueError)  a file is damaged, or is not one that this version can read
        ├── SolveError       (RuntimeError)  a solver or an estimate failed
        │   └── FitError                     a fit had to stop; what it reached comes with it
        └── DebugError       (RuntimeError)  debug mode found the layer that went wrong first

All are names of the root, `lux.LayerError`; `core` adds the layer's path to each as it passes through.
"""

import difflib
from collections.abc import Iterable
from typing import Any


class LuxError(Exception):
    """The root of every error that this package raises on purpose."""


class PathError(LuxError, KeyError):
    """A path or name that nothing answers to."""

    def __str__(self) -> str:  # KeyError would show the message as a quoted string
        return str(self.args[0]) if self.args else ""


class IndexRangeError(LuxError, IndexError):
    """An index of something that is not there: member 10 of 3."""


class LayoutError(LuxError, ValueError):
    """A vector or a tree of arrays that does not fit the layout."""


class ParameterError(LuxError, TypeError):
    """A declaration that cannot become part of a vector of floating-point numbers, or parameters used as if they were an array."""


class LayerError(LuxError, TypeError):
    """A layer that breaks the contract: fields without arrays, `layer(x, ps, st) -> (y, st)`."""


class ShapeError(LuxError, ValueError):
    """An input whose shape does not fit the layer."""


class FileFormatError(LuxError, ValueError):
    """A file that is damaged, hostile, newer than this version, or not one of parameters at all."""


class SolveError(LuxError, RuntimeError):
    """A solve that failed, of whichever kind: a differential equation, an equilibrium, an estimate, a fit.

    Within a compiled function JAX makes a `jax.errors.JaxRuntimeError` of any error of a running program, whose text ends in the
    message of this one; `except RuntimeError` catches both.
    """


class FitError(SolveError):
    """A fit that had to stop, or did not lower the loss. `error.fitted` holds what was reached, and the best point."""

    def __init__(self, message: str, fitted: Any) -> None:
        super().__init__(message)
        self.fitted = fitted


class DebugError(LuxError, RuntimeError):
    """The first layer that went wrong under `lux.tools.debug`: the message shows its input, parameters, state and output.

    `path`: of the layer, within the model that is debugged; `culprit`: what was bad first, one of `"input"`, `"parameters"`, `"state"`,
    `"output"`, `"exception"`, or, backward, `"cotangent of the output"`, `"... input"`, `"... parameters"`.
    """

    path: str = ""
    culprit: str = ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name: what was asked for, and the nearest of what there is."""
    known = list(known)
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known[:8]
    if not known:
        return f"no {kind} {name!r}: there is nothing here to name"
    rest = "" if len(nearest) == len(known) else f" ({len(known)} in all)"
    return f"no {kind} {name!r}; nearest: {', '.join(nearest)}{rest}"
