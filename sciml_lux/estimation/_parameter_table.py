"""Parameters as a table, out and in: what SciPy's, lmfit's and PEtab's users keep in a file."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._errors import ParameterError
from ..flatten import Entry, FlatParams
from ..flatten.files import write_atomically
from ..flatten.maps import Bounded, Positive, PositiveSoftplus, Real, ScaledMap
from . import priors as families
from ._coordinates import has_order, stored
from ._labels import shown
from ._names import resolve
from ._report import aligned
from .priors import AbstractPrior
from .problem import Problem

COLUMNS = ("value", "lower", "upper", "prior", "scale", "unit", "estimated")


@dataclass(frozen=True, repr=False)
class ParameterTable:
    """A row for each number by its name: `value`, `lower` and `upper` (infinite where there is no bound; equal ones fix) and `prior` in the
    units in which parameters are shown; `scale` on which it is searched, `"linear"`, `"log"`, or `"other"` for a map that mixes numbers;
    `unit`; `estimated`: `False` for constants. `print` it; `table.rows["rate"]["value"]` is one cell."""

    rows: dict[str, dict[str, Any]]

    def to_csv(self, path: str | Path | None = None) -> str:
        """The text of a CSV file, which is written, whole or not at all, if a path is given."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("name", *COLUMNS))
        for name, row in self.rows.items():
            prior = row["prior"]
            writer.writerow(
                [name, *(repr(prior) if column == "prior" and prior else _cell(row[column]) for column in COLUMNS)]
            )
        if path is not None:
            write_atomically(Path(path), text.getvalue().encode())
        return text.getvalue()

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame`, indexed by name. **Errors:** `ImportError` without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("a data frame is one of pandas; write pip install 'sciml-lux[tables]'") from error
        return pandas.DataFrame.from_dict(self.rows, orient="index", columns=list(COLUMNS))

    def __repr__(self) -> str:
        rows = [("name", *COLUMNS)]
        rows += [(name, *(_cell(row[column]) for column in COLUMNS)) for name, row in self.rows.items()]
        return "\n".join(aligned(rows))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def parameter_table(problem: Problem, ps: FlatParams) -> ParameterTable:
    """The parameters of a problem, with these values, as a table; see `with_parameter_table` for the way back.

    **Errors:** `ParameterError` for parameters that are not those of the model.
    """
    _check_layout(problem, ps)
    rows = dict[str, dict[str, Any]]()
    for array in shown(ps.layout):
        values = np.asarray(ps.params[array.path], np.float64).reshape(-1)
        entry = array.entry
        own = array.estimated and array.size == entry.size and has_order(entry.ravel_map)
        lower, upper = _ends(problem, entry) if own else (np.full(values.shape, end) for end in (-np.inf, np.inf))
        for i, label in enumerate(array.labels):
            rows[label] = {
                "value": float(values[i]),
                "lower": float(lower[i]),
                "upper": float(upper[i]),
                "prior": (problem.priors or {}).get(array.path),
                "scale": _scale(entry) if own else "other" if array.estimated else "linear",
                "unit": entry.unit or "",
                "estimated": array.estimated,
            }
    return ParameterTable(rows)


def _ends(problem: Problem, entry: Entry) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of each number: those of the problem within those of the declaration."""
    inner = entry.ravel_map.inner if isinstance(entry.ravel_map, ScaledMap) else entry.ravel_map
    unit = entry.ravel_map.scale if isinstance(entry.ravel_map, ScaledMap) else 1.0
    declared = (
        (inner.lower * unit, inner.upper * unit)
        if isinstance(inner, Bounded)
        else (0.0, np.inf)
        if isinstance(inner, Positive | PositiveSoftplus)
        else (-np.inf, np.inf)
    )
    given = (problem.bounds or {}).get(entry.path, declared)
    lower, upper = (np.broadcast_to(np.asarray(end, np.float64), entry.spec.shape).reshape(-1) for end in given)
    return np.maximum(lower, declared[0]), np.minimum(upper, declared[1])


def _scale(entry: Entry) -> str:
    inner = entry.ravel_map.inner if isinstance(entry.ravel_map, ScaledMap) else entry.ravel_map
    closed = isinstance(inner, Bounded) and np.isfinite(inner.lower) and np.isfinite(inner.upper)
    return "linear" if isinstance(inner, Real) or closed else "log"


def with_parameter_table(problem: Problem, ps: FlatParams, table: PyTree) -> tuple[Problem, FlatParams]:
    """The problem with the bounds and priors of a table, and parameters with its values. Nothing is compiled for other values and bounds.

    **Arguments:** `table`: a `ParameterTable`; a mapping of names to mappings such as `{"value": 0.3, "lower": 0.0, "upper": 1.0}`; a data
    frame of pandas whose index are the names; or the path of a CSV file with a column `name`. Columns and rows that are missing leave
    things as they are; an empty cell of a prior is none, of a bound no bound. `scale`, `unit` and `estimated` are the model's: they are not
    read.

    **Errors:** `ParameterError` for unknown names and columns, and for values of what is constant or has no bounds of its own; those of
    `Problem`.
    """
    _check_layout(problem, ps)
    rows = _rows_of(table)
    kept = parameter_table(problem, ps).rows
    given = {resolve(name, list(kept), "table"): row for name, row in rows.items()}
    params, bounds, priors = ps.params, dict(problem.bounds or {}), dict(problem.priors or {})
    for array in shown(ps.layout):
        found = [given.get(label, {}) for label in array.labels]
        if not any(found):
            continue
        for label, row in zip(array.labels, found, strict=True):
            _check_row(label, row)
        whole = [kept[label] | row for label, row in zip(array.labels, found, strict=True)]
        cell = lambda column: np.array([row[column] for row in whole], np.float64).reshape(array.shape)  # noqa: B023, E731
        if any("value" in row for row in found):
            if not array.estimated and np.any(cell("value") != np.asarray(params[array.path], np.float64)):
                raise ParameterError(
                    f"table: {array.path} is declared as a constant; declare it with lux.real in the model"
                )
            params = params.set(array.path, jnp.asarray(cell("value"), ps.layout.dtype)) if array.estimated else params
        if any("lower" in row or "upper" in row for row in found) and array.estimated:
            stored(array.path, array.entry.ravel_map, np.zeros(0))  # raises for a map that has no order
            bounds[array.path] = cell("lower"), cell("upper")
        if any("prior" in row for row in found):
            priors = _with_prior(priors, array.path, found)
    return replace(problem, bounds=bounds, priors=priors), FlatParams(ps.layout.ravel(params), ps.layout)


def _check_layout(problem: Problem, ps: FlatParams) -> None:
    if [entry.path for entry in ps.layout.entries] != [entry.path for entry in problem.layout.entries]:
        raise ParameterError(
            "the parameters are not those of the problem's model; write ps, st = lux.setup(key, problem.model)"
        )


def _check_row(label: str, row: Mapping[str, Any]) -> None:
    unknown = [column for column in row if column not in COLUMNS]
    if unknown:
        raise ParameterError(f"table: {label} has {', '.join(map(repr, unknown))}; columns are {', '.join(COLUMNS)}")


def _with_prior(priors: dict[str, AbstractPrior], path: str, rows: list[dict[str, Any]]) -> dict[str, AbstractPrior]:
    asked = {row["prior"] for row in rows if "prior" in row}
    if len(asked) > 1 or not all("prior" in row for row in rows):
        raise ParameterError(f"table: {path} has one prior for all of its numbers, got {sorted(map(str, asked))}")
    prior = asked.pop()
    left = {name: one for name, one in priors.items() if name != path}
    return left if prior is None else left | {path: prior}


def _rows_of(table: PyTree) -> dict[str, dict[str, Any]]:
    """By name, the cells that say something."""
    if isinstance(table, ParameterTable):
        table = {name: {column: row[column] for column in COLUMNS[:4]} for name, row in table.rows.items()}
    elif isinstance(table, str | Path):
        with Path(table).open(newline="", encoding="utf-8") as file:
            read = list(csv.DictReader(file))
        if any("name" not in row for row in read):
            raise ParameterError(f"{table} has no column name, by which rows are found")
        table = {row["name"]: {column: cell for column, cell in row.items() if column != "name"} for row in read}
    elif hasattr(table, "to_dict") and hasattr(table, "columns"):
        table = table.to_dict(orient="index")
    if not isinstance(table, Mapping) or not all(isinstance(row, Mapping) for row in table.values()):
        raise ParameterError(
            f"a table is a ParameterTable, a mapping of names to mappings, a data frame, or a path, got {type(table).__name__}; write "
            "{'rate': {'value': 0.3, 'lower': 0.0, 'upper': 1.0}}"
        )
    return {
        str(name): {column: _read(str(name), column, cell) for column, cell in row.items()}
        for name, row in table.items()
    }


_NO_BOUND = {"lower": -np.inf, "upper": np.inf}


def _read(name: str, column: str, cell: object) -> Any:
    """A cell of a mapping or a file."""
    empty = cell is None or (isinstance(cell, str) and not cell.strip())
    if column == "prior":
        return None if empty or (isinstance(cell, float) and np.isnan(cell)) else _prior(name, cell)
    if column not in ("value", "lower", "upper"):
        return cell
    if empty and column in _NO_BOUND:
        return _NO_BOUND[column]
    try:
        number = float(cell)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        number = np.nan
    if np.isnan(number):
        raise ParameterError(f"table: the {column} of {name} is a number, got {cell!r}")
    return number


def _prior(name: str, cell: object) -> AbstractPrior:
    """A density, or the text of one, such as `LogNormal(0.0, 1.0)`."""
    if isinstance(cell, AbstractPrior):
        return cell
    match = re.fullmatch(r"\s*(\w+)\((.*)\)\s*", str(cell))
    kind = getattr(families, match[1], None) if match else None
    try:
        if match is None or kind is None:
            raise ValueError
        pairs = [part.rpartition("=") for part in match[2].split(",") if part.strip()]
        positional = [float(number) for key, _, number in pairs if not key]
        return kind(*positional, **{key.strip(): float(number) for key, _, number in pairs if key})
    except (TypeError, ValueError):
        raise ParameterError(
            f"table: the prior of {name} is a density of est.priors, or its text, got {cell!r}; write 'Normal(0.0, 1.0)'"
        ) from None
