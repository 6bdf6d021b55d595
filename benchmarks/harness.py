"""What the benchmarks share: alternating timings, medians, tables, and the record in RESULTS.md.

These machines are noisy, so that contenders take turns within one process and a median over the turns is reported.
"""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

HERE = pathlib.Path(__file__).parent
TURNS = 9


def block(value: Any) -> Any:
    """Waits until the arrays in `value` are computed."""
    return jax.block_until_ready(value)


def alternate(
    contenders: Mapping[str, Callable[[], Any]], turns: int = TURNS, seconds: float = 0.02
) -> dict[str, float]:
    """The median seconds of one call of each contender. They take turns; in each turn one is called for at least `seconds`."""
    calls = {name: max(1, int(seconds / max(_once(run), 1e-7))) for name, run in contenders.items()}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns):
        order = list(contenders) if turn % 2 == 0 else list(reversed(contenders))
        for name in order:
            run, number = contenders[name], calls[name]
            start = time.perf_counter()
            for _ in range(number):
                value = run()
            block(value)
            taken[name].append((time.perf_counter() - start) / number)
    return {name: statistics.median(values) for name, values in taken.items()}


def _once(run: Callable[[], Any]) -> float:
    block(run())
    start = time.perf_counter()
    block(run())
    return time.perf_counter() - start


def compile_seconds(make: Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]) -> float:
    """Seconds to trace, lower and compile a fresh `jax.jit(function)` for these arguments; `make` builds both anew."""
    function, arguments = make()
    start = time.perf_counter()
    jax.jit(function).lower(*arguments).compile()
    return time.perf_counter() - start


def compile_ratio(makers: Mapping[str, Callable[[], Any]], turns: int = 3) -> dict[str, float]:
    """The median compile seconds of each maker, taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(turns):
        for name, make in makers.items():
            jax.clear_caches()
            taken[name].append(compile_seconds(make))
    return {name: statistics.median(values) for name, values in taken.items()}


def shown(seconds: float) -> str:
    """A time with three digits and a unit."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def environment(*packages: str) -> str:
    """Date, processor and versions, as one line."""
    names = ("jax", "jaxlib", "equinox", "diffrax", "optimistix", "optax", *packages)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    devices = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    machine = f"{platform.machine()} with {os.cpu_count()} cores, JAX on {devices}"
    return f"{datetime.date.today()}, {machine}, Python {platform.python_version()}, {versions}"


def record(name: str, title: str, text: str, figures: Any, *packages: str) -> None:
    """Prints a result, writes its figures as JSON, and replaces its section of RESULTS.md."""
    section = f"## {title}\n\n{environment(*packages)}\n\n{text}\n"
    print(section)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.json").write_text(
        json.dumps({"environment": environment(*packages), "figures": figures}, indent=1) + "\n"
    )
    results = HERE / "RESULTS.md"
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    old = (
        results.read_text()
        if results.exists()
        else "# Results\n\nWritten by the scripts in this folder (`make bench`). Ratios are what counts.\n"
    )
    before, found, rest = old.partition(begin)
    after = rest.partition(end)[2] if found else ""
    results.write_text(f"{before if found else before.rstrip() + chr(10) * 2}{begin}{section}{end}{after}")
