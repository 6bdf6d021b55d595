"""A fit in plain Python, and in files that any tool reads."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ...flatten.files import write_atomically
from .._labels import shown
from ._estimate import Estimate

_VERSION = 1


def as_dict(estimate: Estimate) -> dict[str, Any]:
    """Numbers are Python's; what is not finite is `None`, since JSON has no word for it."""
    return {
        "version": _VERSION,
        "outcome": estimate.outcome,
        "reason": estimate.reason,
        "num_steps": estimate.num_steps,
        "parameters": _rows(estimate),
        "covariance": [[_plain(number) for number in row] for row in estimate.covariance],
        **{
            name: _plain(getattr(estimate, name))
            for name in ("log_likelihood", "log_prior", "penalty", "chi_square", "aic", "aicc", "bic")
        },
        "num_data": estimate.num_data,
        "num_parameters": estimate.num_parameters,
        "unidentified": list(estimate.unidentified),
        "vector": [_plain(number) for number in np.asarray(estimate.ps.vector)],
    }


def _rows(estimate: Estimate) -> list[dict[str, Any]]:
    rows = []
    for array in shown(estimate.point.layout):
        if not array.estimated:
            continue
        value, error, initial = (
            np.asarray(tree[array.path], np.float64).reshape(-1)
            for tree in (estimate.values, estimate.stderr, estimate.initial)
        )
        for i, label in enumerate(array.labels):
            rows.append(
                {
                    "name": label,
                    "value": _plain(value[i]),
                    "stderr": _plain(error[i]),
                    "initial": _plain(initial[i]),
                    "bound": estimate.active.get(label),
                    "unit": array.entry.unit,
                }
            )
    return rows


def _plain(number: float | np.ndarray | np.generic) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


def save(estimate: Estimate, path: str | Path) -> None:
    """**Errors:** `ValueError` for a file of another kind than JSON and CSV."""
    kind = Path(path).suffix
    if kind == ".json":
        text = json.dumps(as_dict(estimate), indent=1, allow_nan=False)
    elif kind == ".csv":
        buffer = io.StringIO()
        rows = _rows(estimate)
        writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else ["name"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    else:
        raise ValueError(
            f"a fit is saved as .json, or its table as .csv, got {str(path)!r}; lux.save keeps the parameters themselves"
        )
    write_atomically(Path(path), text.encode())
