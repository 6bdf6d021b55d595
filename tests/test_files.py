"""Files: what is saved comes back bit for bit, is there as a whole or not at all, and what is no such file is refused."""

import dataclasses
import json
import os
import pathlib
import pickle
import random
import signal
import stat
import struct
import subprocess
import sys
import time
import zipfile

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

import sciml_lux as lux
from sciml_lux.flatten import (
    AbstractRavelMap,
    ArraySpec,
    Entry,
    FileFormatError,
    Layout,
    LayoutError,
    Parameter,
    Positive,
    _file_format,
)

small = lambda: lux.flatten.flatten({"a": {"weight": jnp.arange(6.0).reshape(2, 3)}, "rate": lux.positive(2.0)})  # noqa: E731


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def assert_same(got, expected):
    assert got.layout is expected.layout
    assert bits(got) == bits(expected)


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
from sciml_lux.flatten._file import _write_atomically
path, *contents = [pathlib.Path(argument) for argument in sys.argv[1:]]
contents = [content.read_bytes() for content in contents]
dice = random.Random(0)
seen = set()
for _ in range(100):
    child = os.fork()
    if child == 0:
        while True:
            for content in contents:
                _write_atomically(path, content)
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


# Damaged, hostile, foreign and newer files


def parts_of(content: bytes) -> tuple[dict, dict, bytes]:
    """The header of a file, what lux wrote in its metadata, and the bytes of its tensors."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["sciml_lux"]), content[8 + length :]


def file_of(header: dict, document: object, data: bytes, text: str | None = None) -> bytes:
    """A file with the checksum that its contents should have, so that nothing but the layout is wrong with it."""
    if isinstance(document, dict) and "layout" in document and "__vector__" in header:
        start, stop = header["__vector__"]["data_offsets"]
        vector = np.frombuffer(data[start:stop], np.uint8)
        document = {**document, "checksum": _file_format.checksum(document["layout"], vector)}
    header = {**header, "__metadata__": {"sciml_lux": text or json.dumps(document)}}
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "good"
    lux.save(path, small())
    return path.read_bytes()


def refuse(path: pathlib.Path, content: bytes, *parts: str) -> str:
    path.write_bytes(content)
    start = time.perf_counter()
    text = refused(lambda: lux.load(path), FileFormatError, str(path), *parts)
    assert time.perf_counter() - start < 2
    assert len(text) < 1000
    return text


def test_a_file_that_is_put_together_again_loads(path, good):
    path.write_bytes(file_of(*parts_of(good)))
    assert_same(lux.load(path), small())


def test_truncated_at_any_byte(path, good):
    for length in range(len(good)):
        refuse(path, good[:length])
    refuse(path, good + b"\0")


def test_any_one_flipped_bit_is_noticed_or_harmless(path, good):
    header = 8 + struct.unpack("<Q", good[:8])[0]
    vector = slice(header, header + 8 * 7)
    dice = random.Random(0)
    for position in range(len(good)):
        content = bytearray(good)
        content[position] ^= 1 << dice.randrange(8)
        path.write_bytes(content)
        try:
            loaded = lux.load(path)
        except FileFormatError:
            continue
        assert not vector.start <= position < vector.stop
        assert_same(loaded, small())


@settings(max_examples=300)
@given(data=st.data())
def test_any_damage_is_noticed_or_harmless(tmp_path_factory, good, data):
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        stop = position + data.draw(st.integers(0, 8))
        content[position:stop] = data.draw(
            st.binary(max_size=8) | st.sampled_from([b"{", b"[", b'"', b"9" * 8, b"null"])
        )
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        loaded = lux.load(path)
    except FileFormatError:
        return
    assert_same(loaded, small())


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([2**63, -1, "a", ""]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


def places_in(document) -> list[tuple]:
    """The keys that lead to each value of a JSON document."""
    if not isinstance(document, dict | list):
        return [()]
    items = document.items() if isinstance(document, dict) else enumerate(document)
    return [(), *((key, *rest) for key, value in items for rest in places_in(value))]


def replaced(document, place: tuple, value):
    if not place:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[place[0]] = replaced(document[place[0]], place[1:], value)
    return copy


@settings(max_examples=400)
@given(data=st.data())
def test_json_of_other_types_and_values_is_noticed(tmp_path_factory, good, data):
    header, document, tensors = parts_of(good)
    place = data.draw(st.sampled_from(places_in(document)))
    changed = replaced(document, place, data.draw(json_values))
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(file_of(header, changed, tensors))
    try:
        loaded = lux.load(path)
    except FileFormatError:
        return
    assert bits(loaded) == bits(small())


def entry(**changes):
    return lambda document: document["layout"]["entries"][0].update(changes)


LAYOUTS = {
    "newer": (lambda d: d.update(version=2), "version 2", "reads up to 1", "pip install --upgrade sciml-lux"),
    "version of a wrong type": (lambda d: d.update(version="1"), "version"),
    "no layout": (lambda d: d.pop("layout"), "'layout'"),
    "no dtype": (lambda d: d["layout"].pop("dtype"), "'dtype'"),
    "unknown dtype": (lambda d: d["layout"].update(dtype="float31"), "float31", "bfloat16"),
    "other dtype": (lambda d: d["layout"].update(dtype="float32"), "F64"),
    "integer dtype": (lambda d: d["layout"].update(dtype="int64"), "int64"),
    "no path": (lambda d: d["layout"]["entries"][0].pop("path"), "entry 0", "'path'"),
    "no unit": (lambda d: d["layout"]["entries"][1].pop("unit"), "rate", "'unit'"),
    "unit of a wrong type": (entry(unit=3), "unit"),
    "offset of a wrong type": (entry(offset=0.0), "offset"),
    "offset that is a flag": (entry(offset=False), "offset"),
    "overlapping": (lambda d: d["layout"]["entries"][1].update(offset=3), "offset 3", "ends at 6"),
    "negative offset": (entry(offset=-1), "offset", "out of range"),
    "huge size": (entry(size=2**60), "offset 6"),
    "size that is too large": (lambda d: d["layout"]["entries"][1].update(size=2), "size is 2"),
    "overflowing size": (entry(size=10**30), "size", "out of range"),
    "huge shape": (entry(shape=[2**40, 2**40]), "no array"),
    "shape that wraps to zero": (entry(shape=[2**32, 2**32], size=0), "no array"),
    "shape that disagrees": (entry(shape=[3, 3]), "size is 6", "9"),
    "shape of another order": (entry(shape=[3, 2]), "a.weight", "shape"),
    "shape with a negative": (entry(shape=[-2, -3]), "shape"),
    "shape of a wrong type": (entry(shape="23"), "shape"),
    "shape with flags": (entry(shape=[True, 6]), "shape"),
    "too short": (lambda d: d["layout"]["entries"].pop(), "entry 1"),
    "fewer in the tree": (lambda d: d["layout"]["tree"].pop("rate"), "fewer"),
    "twice in the tree": (lambda d: d["layout"]["tree"].update(rate=0), "rate", "out of order"),
    "another name": (lambda d: d["layout"].update(tree={"a": {"bias": 0}, "rate": 1}), "a.weight", "a.bias"),
    "tree of a wrong type": (lambda d: d["layout"].update(tree=[0, 1]), "expected an object"),
    "no map": (lambda d: d["layout"]["entries"][0].pop("map"), "'map'"),
    "unknown map": (
        entry(map={"class": "Rotation", "module": "robots", "fields": {}}),
        "Rotation",
        "import it",
        "'robots'",
        "before loading",
    ),
    "unknown map of ours": (entry(map={"class": "Rotation", "module": "sciml_lux", "fields": {}}), "--upgrade"),
    "map that is no map": (entry(map={"class": "Layout", "module": "sciml_lux", "fields": {}}), "Layout"),
    "abstract map": (entry(map={"class": "AbstractRavelMap", "module": "sciml_lux", "fields": {}}), "AbstractRavelMap"),
    "unknown field": (entry(map={"class": "Real", "module": "sciml_lux", "fields": {"x": 1}}), "no field 'x'"),
    "missing field": (entry(map={"class": "Bounded", "module": "sciml_lux", "fields": {}}), "cannot be made"),
    "field of a wrong type": (
        entry(map={"class": "Bounded", "module": "sciml_lux", "fields": {"lower": "x", "upper": None}}),
        "cannot be made",
    ),
    "constant of another shape": (
        entry(map={"class": "Fixed", "module": "sciml_lux", "fields": {"value": 1.0}}, size=0),
        "a.weight",
    ),
    "tie to nothing": (
        entry(map={"class": "Tied", "module": "sciml_lux", "fields": {"source": "b"}}, size=0),
        "tied to b",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_that_is_wrong(name, path, good):
    header, document, tensors = parts_of(good)
    change, *parts = LAYOUTS[name]
    change(document)
    if name in ("constant of another shape", "tie to nothing", "shape that wraps to zero"):
        document["layout"]["entries"][1]["offset"] = 0
    refuse(path, file_of(header, document, tensors), *parts)


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "", ".", "..", "a/b", "a\\b", "a\0b", "a.b", " ", "\ud800", "x" * 9 + "\n"]
)
def test_names_that_play_tricks(name, path, good):
    header, document, tensors = parts_of(good)
    renamed = replaced(document, ("layout", "entries", 1, "path"), name)
    renamed = replaced(renamed, ("layout", "tree"), {"a": {"weight": 0}, name: 1})
    refuse(path, file_of(header, renamed, tensors), "name" if name != "a.b" else "")
    if name != "\ud800":
        kept = {**header, name: header["rate"]}
        kept.pop("rate")
        refuse(path, file_of(kept, document, tensors))


def test_a_tree_or_a_field_nested_deeply(path, good):
    header, document, tensors = parts_of(good)
    for depth in (150, 2_000, 200_000):
        text = json.dumps(document).replace('"tree": {', '"tree": {"x":' + '{"x":' * depth + "{}" + "}" * depth + ", ")
        refuse(path, file_of(header, None, tensors, text=text), "nested")
        text = json.dumps(document).replace('"fields": {}', '"fields": {"x":' + "[" * depth + "]" * depth + "}")
        refuse(path, file_of(header, None, tensors, text=text))
    text = '{"version": 1, "layout":' + '{"parent":' * 50_000 + "1" + "}" * 50_001
    refuse(path, file_of(header, None, tensors, text=text))


def test_json_that_is_none(path, good):
    header, document, tensors = parts_of(good)
    text = json.dumps(document)
    twice = text.replace('"unit": null', '"unit": null, "unit": "m"', 1)
    for wrong in (
        text[:-1],
        "{",
        "[]",
        "null",
        "3",
        '"x"',
        text.replace("6", "NaN"),
        text.replace("6", "1e999"),
        twice,
    ):
        refuse(path, file_of(header, None, tensors, text=wrong))
    refuse(path, file_of(header, None, tensors, text=text.replace(": 6", ": " + "9" * 100_000)))


HEADERS = {
    "a tensor beyond the end": {"data_offsets": [0, 2**40]},
    "offsets that overflow": {"data_offsets": [0, 2**64]},
    "negative offsets": {"data_offsets": [-8, 48]},
    "offsets in reverse": {"data_offsets": [56, 0]},
    "overlapping offsets": {"data_offsets": [8, 64]},
    "a shape that overflows": {"shape": [2**32, 2**32]},
    "a huge shape": {"shape": [2**62]},
    "a huge shape of no size": {"shape": [2**62, 0], "data_offsets": [0, 0]},
    "another shape": {"shape": [1, 7, 1]},
    "another dtype": {"dtype": "I64"},
    "an unknown dtype": {"dtype": "F99"},
    "offsets of a wrong type": {"data_offsets": "0"},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_wrong(name, path, good):
    header, document, tensors = parts_of(good)
    changed = {**header, "__vector__": {**header["__vector__"], **HEADERS[name]}}
    content = file_of(header, document, tensors)
    text = json.dumps(
        {**changed, "__metadata__": json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]}
    )
    refuse(path, struct.pack("<Q", len(text)) + text.encode() + tensors)


def test_tensors_that_are_not_those_of_the_layout(path, good):
    header, document, tensors = parts_of(good)
    without = {name: value for name, value in header.items() if name != "__vector__"}
    start, stop = header["__vector__"]["data_offsets"]
    renamed = {**without, "vector": header["__vector__"]}
    refuse(path, file_of(renamed, document, tensors), "__vector__")
    refuse(path, file_of({**without, "a.weight": header["__vector__"]}, document, tensors[:stop]))
    extra = {**header, "b.weight": {"dtype": "U8", "shape": [1], "data_offsets": [len(tensors), len(tensors) + 1]}}
    refuse(path, file_of(extra, document, tensors + b"1"), "b.weight", "no entry")
    other = {**header, "a.weight": {**header["a.weight"], "shape": [3, 2]}}
    refuse(path, file_of(other, document, tensors), "a.weight", "(2, 3)")
    assert start < stop


def test_numbers_that_do_not_have_their_checksum(path, good):
    header = 8 + struct.unpack("<Q", good[:8])[0]
    content = bytearray(good)
    content[header] ^= 1
    refuse(path, bytes(content), "damaged", "checksum")


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**40, 65 * 2**20, 10**6, 0, 1])
def test_a_length_of_the_header_that_is_wrong(length, path, good):
    refuse(path, struct.pack("<Q", length) + good[8:])


def test_files_of_other_kinds(path, tmp_path):
    safetensors.numpy.save_file({"a": np.ones(2)}, path)
    refuse(path, path.read_bytes(), "lux.save did not write it", "load_file")
    archive = tmp_path / "archive"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a", "b")
    np.save(tmp_path / "array.npy", np.ones(3))
    arrays = (tmp_path / "array.npy").read_bytes()
    for content in (pickle.dumps({"a": 1}), archive.read_bytes(), arrays, b"some text\n" * 9, b"", b"\0" * 100, b"{}"):
        refuse(path, content)
    refused(lambda: lux.load(tmp_path), FileFormatError, "no regular file")
    with pytest.raises(FileNotFoundError):
        lux.load(tmp_path / "missing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refused(lambda: lux.load(tmp_path / "pipe"), FileFormatError, "no regular file")


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
