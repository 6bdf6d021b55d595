"""Names that have moved: for one minor version the old ones give the same object, with a warning that says where it is now.

Packages learn of it when the root is imported, and not in their source, where type checkers would take any name for one of theirs.
"""

import importlib
import sys
import warnings
from collections.abc import Callable
from typing import Any


def _all_to(package: str, names: str) -> dict[str, str]:
    return {name: f"{package}.{name}" for name in names.split()}


_ERRORS = "DebugError FileFormatError IndexRangeError LayerError LayoutError LuxError ParameterError PathError ShapeError SolveError"
_TOOLS = (
    "Debug carry_over debug freeze from_equinox from_flax from_pytree from_torch insert_layer layer_map remove_layer replace_layer "
    "share_parameters summary to_torch unfreeze"
)
_KERNELS = "carried check_off_mesh compiled_apart is_compiling is_traced known may_specialize scan within_shard_map"

# Moved in 0.1, to go in 0.2.
MOVED: dict[str, dict[str, str]] = {
    "sciml_lux": {**_all_to("sciml_lux.tools", _TOOLS), "layout": "sciml_lux.layout_of"},
    "sciml_lux.core": {"layout": "sciml_lux.layout_of", **_all_to("sciml_lux.kernels", "may_stand_in stands_for")},
    "sciml_lux.flatten": {
        **_all_to("sciml_lux", _ERRORS),
        **_all_to("sciml_lux.kernels", _KERNELS),
        "PositiveDefinite": "sciml_lux.flatten.PositiveDefiniteMap",
        "Scaled": "sciml_lux.flatten.ScaledMap",
        "orthogonal": "sciml_lux.flatten.orthogonal_matrix",
    },
    "sciml_lux.layers": _all_to("sciml_lux.tools", f"{_TOOLS} LayerSummary Summary"),
    "sciml_lux.solvers": _all_to("sciml_lux", "SolveError"),
    "sciml_lux.training": _all_to("sciml_lux", "FitError"),
}


def _getattr_of(package: str) -> Callable[[str], Any]:
    def get(name: str) -> Any:
        if name not in MOVED[package]:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        new = MOVED[package][name]
        place, _, own = new.rpartition(".")
        written = new.replace("sciml_lux", "lux", 1)
        warnings.warn(
            f"{package}.{name} has moved, and goes with the next minor version; write {written}",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(place), own)

    return get


for _package in MOVED:
    setattr(importlib.import_module(_package), "__getattr__", _getattr_of(_package))  # noqa: B010, type checkers refuse the other way
