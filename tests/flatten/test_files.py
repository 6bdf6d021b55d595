"""Files: what is saved comes back bit for bit, is there as a whole or not at all, and what is no such file is refused."""

import dataclasses
import os
import random
import signal
import stat
import subprocess
import sys
import time

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from golden import Interleaved
from helpers import bits, dtypes, fill, message_of, random_bits, refused, setup, shapes, trees_of
from hypothesis import given, settings
from hypothesis import strategies as st
from members import LAYERS, RAVEL_MAPS
from saved import assert_same, small

import sciml_lux as lux
from sciml_lux import FileFormatError, LayoutError
from sciml_lux.flatten import AbstractRavelMap, ArraySpec, Entry, Layout, Parameter, Positive

# What is saved comes back


@settings(max_examples=60)
@given(trees_of(shapes), dtypes, st.lists(st.integers(0, 2), max_size=2), st.integers(0, 2**31))
def test_any_tree_comes_back_bit_for_bit(tmp_path_factory, tree, dtype, batch, seed):
    path = tmp_path_factory.mktemp("files") / "tree"
    layout = lux.flatten.flatten(fill(tree, seed, dtype), dtype).layout
    ps = lux.FlatParams(random_bits(seed, (*batch, layout.size), dtype), layout)
    lux.save(path, ps)
    assert_same(lux.load(path), ps)


@pytest.mark.parametrize("member", LAYERS, ids=lambda member: member.name)
def test_the_parameters_of_any_layer_come_back(member, path):
    ps, _ = setup(member.make())
    lux.save(str(path), ps)
    assert_same(lux.load(str(path)), ps)


@pytest.mark.parametrize("member", RAVEL_MAPS, ids=lambda member: member.name)
def test_any_map_comes_back(member, path):
    size = member.ravel_map.size(member.spec)
    layout = Layout(lux.Params(a=Entry("a", 0, size, member.spec, member.ravel_map)), np.float64)
    ps = lux.FlatParams(np.linspace(-1.0, 1.0, 2 * size).reshape(2, size), layout)
    lux.save(path, ps)
    assert_same(lux.load(path), ps)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_any_dtype_comes_back(dtype, path):
    ps = lux.flatten.flatten({"a": jnp.linspace(0, 1, 5).astype(dtype)})
    lux.save(path, ps)
    assert lux.load(path).vector.dtype == dtype
    assert_same(lux.load(path), ps)


def test_all_as_one_entry_comes_back(path):
    params = lux.Params(left=jnp.arange(2.0), right=jnp.ones(2))
    ps = lux.flatten.flatten(Parameter(params, Interleaved()))
    lux.save(path, ps)
    assert_same(lux.load(path), ps)


def test_a_part_and_what_is_tied_come_back(path):
    ps = lux.flatten.flatten({"a": jnp.ones((2, 3)), "b": jnp.ones((3, 2)), "c": jnp.zeros(2)})
    tied = lux.flatten.tie(ps, ["a", "b"], through=lux.flatten.Transposed())
    theta, frozen = lux.flatten.partition(tied, "c")
    for part in (tied, theta, frozen):
        lux.save(path, part)
        assert_same(lux.load(path), part)
    assert lux.load(path).layout.parent is tied.layout


def test_other_tools_find_the_parameters_by_name(path):
    ps, _ = setup(lux.Chain(lux.Dense(2, 3), rates=lux.ParameterDict(a=lux.positive(2.0), b=lux.fixed(3.0))))
    lux.save(path, lux.FlatParams(jnp.stack([ps.vector, ps.vector]), ps.layout))
    tensors = safetensors.numpy.load_file(path)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes == {
        "__vector__": (2, 10),
        "layer_0.weight": (2, 2, 3),
        "layer_0.bias": (2, 3),
        "rates.a": (2,),
        "rates.b": (2,),
    }
    np.testing.assert_allclose(tensors["rates.a"], [2.0, 2.0])
    assert bits(tensors["layer_0.weight"][1]) == bits(ps["layer_0.weight"])


def test_complex_parameters_are_named_with_two_parts(path):
    ps = lux.flatten.flatten({"c": Parameter(jnp.array([1 + 2j, 3 - 1j]), lux.flatten.ComplexAsReals())})
    lux.save(path, ps)
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["c"], [[1.0, 2.0], [3.0, -1.0]])
    assert_same(lux.load(path), ps)
    assert lux.load(path, jnp.float32)["c"].dtype == jnp.complex64


def test_reserved_names_are_in_the_vector_only(path):
    ps = lux.flatten.flatten({"__vector__": jnp.ones(2), "__metadata__": {"a": jnp.zeros(1)}, "b": 1.0})
    lux.save(path, ps)
    assert_same(lux.load(path), ps)


def test_the_precision_may_be_another(path):
    ps = small()
    lux.save(path, ps)
    loaded = lux.load(path, dtype=jnp.float32)
    np.testing.assert_allclose(loaded.vector, ps.vector.astype(jnp.float32), rtol=0)
    assert loaded["a.weight"].dtype == jnp.float32


def test_arrays_that_one_map_stores_have_the_other_precision_too(path):
    make = lambda dtype: lux.flatten.flatten(  # noqa: E731
        Parameter(lux.Params(left=jnp.arange(2, dtype=dtype), right=jnp.ones(2, dtype)), Interleaved()), dtype
    )
    lux.save(path, make(jnp.float64))
    assert_same(lux.load(path, jnp.float32), make(jnp.float32))


def test_double_precision_that_is_switched_off_is_named(path):
    lux.save(path, small())
    with jax.enable_x64(False):
        refused(lambda: lux.load(path), LayoutError, 'jax.config.update("jax_enable_x64", True)', "dtype=jnp.float32")
        assert lux.load(path, dtype=jnp.float32).vector.dtype == jnp.float32


# The format stays


def test_the_golden_file_holds_what_it_held():
    assert_same(lux.load(golden.PATH), golden.golden())


def test_the_same_parameters_make_the_same_bytes(path):
    lux.save(path, golden.golden())
    assert path.read_bytes() == golden.PATH.read_bytes()


# What cannot be saved


@dataclasses.dataclass(frozen=True)
class WithFunction(Positive):
    function: object = abs


class NoDataclass(AbstractRavelMap):
    def size(self, spec):
        return spec.size

    def ravel(self, value, spec):
        return value.reshape(-1)

    def unravel(self, segment, spec):
        return segment.reshape(spec.shape)


def test_what_cannot_be_saved_is_refused(path, unchecked):
    ps = small()
    refused(lambda: lux.save(path, ps.params), LayoutError, "FlatParams", "flatten")
    refused(lambda: jax.jit(lambda ps: lux.save(path, ps))(ps), LayoutError, "outside of jax.jit")
    refused(lambda: lux.save(path, jax.tree.map(lambda v: v > 0, ps)), LayoutError, "bool")
    for ravel_map, parts in ((NoDataclass(), ["no dataclass"]), (WithFunction(), ["builtin_function", "numbers"])):
        odd = lux.flatten.flatten({"a": {"b": Parameter(jnp.ones(2), ravel_map)}})
        refused(lambda: lux.save(path, odd), LayoutError, "a.b", *parts)  # noqa: B023
    small_floats = lux.flatten.flatten({"a": jnp.ones(2, jnp.float8_e4m3fn)})
    refused(lambda: lux.save(path, small_floats), LayoutError, "float8_e4m3fn", "bfloat16")
    assert not list(path.parent.iterdir())


# The old file or the new one


def test_a_failure_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    lux.save(path, small())
    before = path.read_bytes()
    for name in ("fsync", "replace", "chmod"):
        with monkeypatch.context() as patch:

            def fail(*args, **kwargs):
                raise OSError("the disk is full")

            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="the disk is full"):
                lux.save(path, golden.golden())
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]


def test_places_where_no_file_can_be(tmp_path):
    with pytest.raises(FileNotFoundError):
        lux.save(tmp_path / "missing" / "file", small())
    with pytest.raises(IsADirectoryError):
        lux.save(tmp_path, small())
    with pytest.raises(OSError, match="no regular file"):
        lux.save(os.devnull, small())


@pytest.mark.skipif(os.name == "nt", reason="permissions and links are those of POSIX")
def test_permissions_and_links_stay(path):
    mask = os.umask(0o027)
    try:
        lux.save(path, small())
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    link = path.with_name("link")
    link.symlink_to(path.name)
    lux.save(link, golden.golden())
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert_same(lux.load(path), golden.golden())


FORKING_WRITER = """
import os, pathlib, random, signal, sys, time
from sciml_lux.flatten.files._file import write_atomically
path, *contents = [pathlib.Path(argument) for argument in sys.argv[1:]]
contents = [content.read_bytes() for content in contents]
dice = random.Random(0)
seen = set()
for _ in range(100):
    child = os.fork()
    if child == 0:
        while True:
            for content in contents:
                write_atomically(path, content)
    time.sleep(dice.uniform(0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if path.exists():
        assert path.read_bytes() in contents
        seen.add(contents.index(path.read_bytes()))
assert seen
"""

SAVING_LOOP = """
import pathlib, sys
import jax.numpy as jnp, sciml_lux as lux
path, count = pathlib.Path(sys.argv[1]), 0
while True:
    count += 1
    lux.save(path, lux.flatten.flatten({"a": jnp.full(20_000, float(count)), "b": jnp.full(count, float(count))}))
"""


@pytest.mark.skipif(os.name == "nt", reason="forks")
def test_killed_at_any_moment_it_is_the_old_file_or_the_new_one(path, tmp_path):
    large = lux.flatten.flatten({"a": jnp.arange(30_000.0)})
    for name, ps in (("one", large), ("two", golden.golden())):
        lux.save(tmp_path / name, ps)
    command = [sys.executable, "-c", FORKING_WRITER, str(path), str(tmp_path / "one"), str(tmp_path / "two")]
    subprocess.run(command, check=True, timeout=120)
    assert lux.load(path).layout in (large.layout, golden.golden().layout)
    assert all(name.suffix == ".tmp" for name in tmp_path.iterdir() if name.name not in ("one", "two", path.name))


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_saving_process_that_is_killed_leaves_a_file_that_loads(path):
    for _ in range(2):
        path.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", SAVING_LOOP, str(path)])
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.01)
        for _ in range(20):
            ps = lux.load(path, jnp.float32)
            assert float(ps.vector[0]) == ps.layout["b"].size
        time.sleep(random.random() / 10)
        process.send_signal(signal.SIGKILL)
        process.wait()
        ps = lux.load(path, jnp.float32)
        assert float(ps.vector[0]) == ps.layout["b"].size


# Maps are found by their names


def test_a_map_whose_class_is_gone_is_named(path):
    made = dataclasses.make_dataclass("Gone", [], bases=(Positive,), frozen=True)
    lux.save(path, lux.flatten.flatten({"a": Parameter(2.0, made())}))
    again = dataclasses.make_dataclass("Gone", [], bases=(Positive,), frozen=True)
    assert type(lux.load(path).layout["a"].ravel_map) is again  # the latest, as in a notebook cell that ran twice
    content = path.read_bytes().replace(b"Gone", b"Away")
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as caught:
        lux.load(path)
    assert "'Away'" in message_of(caught.value)


def test_a_map_of_the_same_name_as_ours_is_another(path):
    other = dataclasses.make_dataclass("Positive", [], bases=(Positive,), frozen=True)
    ps = lux.flatten.flatten({"ours": lux.positive(2.0), "theirs": Parameter(2.0, other())})
    lux.save(path, ps)
    assert_same(lux.load(path), ps)


def test_a_whole_layout_without_values_survives(path):
    spec = ArraySpec((2,), np.dtype(np.float64))
    layout = Layout(lux.Params(x=lux.Params(), a=Entry("a", 0, 2, spec), y=lux.Params(z=lux.Params())), np.float64)
    ps = lux.FlatParams(jnp.ones(2), layout)
    lux.save(path, ps)
    assert_same(lux.load(path), ps)
    assert list(lux.load(path).params) == ["x", "a", "y"]
