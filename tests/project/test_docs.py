"""`docs/layers.md` is what `docs/layers.py` writes, and leaves no layer out."""

import pathlib
import runpy

import jax
import pytest

import sciml_lux as lux

DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(DOCS / "layers.py"))


def test_the_listing_is_that_of_the_docstrings(script):
    assert (DOCS / "layers.md").read_text().startswith(script["listing"]())


def test_every_layer_is_in_the_listing(script):
    text = script["listing"]()
    layers = [name for name, value in vars(lux.layers).items() if isinstance(value, type)]
    assert [name for name in layers if f"`{name}`" not in text] == []


@pytest.mark.slow
def test_the_models_are_those_of_the_examples(script):
    pytest.importorskip("matplotlib", reason="python -m pip install 'sciml-lux[examples]'")
    with jax.enable_x64(False):
        assert (DOCS / "layers.md").read_text().endswith(script["models"]())
