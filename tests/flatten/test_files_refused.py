"""Files that are damaged, hostile, foreign or newer are refused, and say why."""

import json
import os
import pathlib
import pickle
import random
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from helpers import bits, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from saved import assert_same, small

import sciml_lux as lux
from sciml_lux import FileFormatError
from sciml_lux.flatten.files import _format


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
        document = {**document, "checksum": _format.checksum(document["layout"], vector)}
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
    text = refused(lambda: lux.load(path), FileFormatError, str(path), *parts)
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
