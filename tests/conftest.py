"""Strict settings for every test: float64, no silent promotion, warnings as errors, shapes and types checked at run time."""

import collections
import ctypes
import gc
import os
import pathlib
import tomllib

import hypothesis
import jax
import jaxtyping
import pytest

# Before the first import of the package, so that every module of it is checked; left in place for modules imported later.
jaxtyping.install_import_hook("sciml_lux", "beartype.beartype")

from sciml_lux import flatten  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiling inside a test takes as long as it takes, and the same examples on every machine make a failure repeatable.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


# Tracing makes millions of small objects, few of them in circles: looking for these after every 700 took 6 % of the time.
gc.set_threshold(50_000, 20, 20)

# Nearly all of the time goes into compiling, little of it into computing: programs of the fast suite are compiled by the shortest way
# and those of the slow one as a user's are.
QUICK_COMPILATION = "--xla_backend_optimization_level=0"
if jax.__version_info__ < (0, 11):  # which knows one way only, and aborts at the name of the other
    QUICK_COMPILATION += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == "not slow":  # read when the first program is compiled, which none is yet
        os.environ.setdefault("XLA_FLAGS", QUICK_COMPILATION)
    config.addinivalue_line("filterwarnings", "error")
    # The workers share one cache, which JAX does not write atomically: who reads an entry half-written compiles it again.
    config.addinivalue_line("filterwarnings", "ignore:Error reading persistent compilation cache entry")
    cache = getattr(config, "cache", None)  # absent under -p no:cacheprovider
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # thousands of small programs
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        values = getattr(item, "callspec", None)
        # What one test has compiled the others of its file, and those of the same member, find in their own process.
        member = getattr(values.params.get("member"), "name", None) if values is not None else None
        item.add_marker(pytest.mark.xdist_group(member or item.nodeid.partition("::")[0]))
        if values is not None and any(getattr(value, "slow", False) is True for value in values.params.values()):
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Where the time went: seconds of all workers by folder, beside what each may take (`tool.seconds-of-tests` in pyproject.toml)."""
    seconds: collections.Counter[str] = collections.Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                seconds[report.nodeid.removeprefix("tests/").split("/")[0]] += report.duration
    if sum(seconds.values()) > 60:
        budgets = tomllib.loads((config.rootpath / "pyproject.toml").read_text())["tool"]["seconds-of-tests"]
        terminalreporter.write_sep("-", f"{sum(seconds.values()):.0f} s of tests, by folder")
        for folder, spent in seconds.most_common():
            over = "  over its budget" if spent > budgets.get(folder, 0) else ""
            terminalreporter.write_line(f"{folder:12} {spent:5.0f} of {budgets.get(folder, 0)} s{over}")


def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Lets go of compiled programs once they take 2 GB; what is needed again comes from the cache on the disk."""
    memory = pathlib.Path("/proc/self/statm")
    if (
        nextitem is not None
        and memory.exists()
        and int(memory.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > 2e9
    ):
        forget_programs()


@pytest.fixture(autouse=True, scope="module")
def few_mapped_files():
    """A process may map some 65,000 pieces of memory, and every compiled program takes several: beyond them XLA aborts."""
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 25_000:
        forget_programs()


def forget_programs() -> None:
    jax.clear_caches()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's, without which freed memory stays with the process
    if trim is not None:
        trim(0)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def unchecked():
    """What a user sees, who runs without the checker: it would turn a wrong argument into its own error first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def ravel_maps():
    """Ravel maps registered in the test are forgotten after it."""
    registry = flatten.maps._ravel_map._REGISTRY
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


@pytest.fixture
def path(tmp_path):
    """Where a test saves parameters."""
    return tmp_path / "model.safetensors"
