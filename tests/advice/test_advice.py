"""Each "write ..." of a message is followed, and leads to success; a message whose advice nothing follows fails the last test here."""

import pathlib
import re

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import message_of

import sciml_lux as lux

from . import CASES, ELSEWHERE, NOT_FOLLOWED, advice_in_the_sources, derivatives

pytestmark = pytest.mark.usefixtures("unchecked")

TESTS = pathlib.Path(__file__).parents[1]


def pattern(template):
    """A text of the source, with {} for what is filled in, as a regular expression."""
    return ".*?".join(re.escape(part) for part in template.split("{}"))


def evaluated(text, **names):
    """What the first expression of a text gives."""
    text = text.split("\n")[0]
    ends = re.finditer(r"[,;]|\.? (?:[fF]or|if|with|which|to|or|in)\b|\.$", text)
    for end in sorted((len(text), *(place.start() for place in ends)), reverse=True):
        try:
            code = compile(text[:end].rstrip(",;"), "advice", "eval")
        except SyntaxError:
            continue
        return eval(code, {"lux": lux, "jnp": jnp, "jax": jax, "np": np, "diffrax": diffrax, **names})
    raise AssertionError(f"nothing to run in {text!r}")


SLOW = [case[0] for case in derivatives.CASES]


def marked(case):
    return pytest.param(*case, id=case[0], marks=[pytest.mark.slow] if case[0] in SLOW else [])


@pytest.mark.parametrize(("where", "wrong", "right"), [marked(case) for case in CASES])
def test_what_a_message_says_to_write_works(where, wrong, right):
    template = where.partition(": ")[2]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        wrong()
    text = message_of(caught.value)
    found = re.search(pattern(template), text, re.DOTALL)
    assert found, text
    if callable(right):
        right()
        return
    names, use = right
    value = evaluated(re.split(r"(?i)\bwrite ", text[found.start() :], maxsplit=1)[1], **names)
    if use is not None:
        use(value)


def test_every_advice_is_followed_by_a_test():
    followed = [where for where, *_ in CASES] + list(ELSEWHERE) + list(NOT_FOLLOWED)
    advice = list(advice_in_the_sources())
    assert len(advice) > 150
    missing = [text[:120] for text in advice if not any(text.startswith(where) for where in followed)]
    assert not missing, "\n".join(["follow each in the file of its subject:", *missing])
    unused = [where for where in followed if not any(text.startswith(where) for text in advice)]
    assert not unused, unused


def test_what_is_followed_elsewhere_is():
    for where, test in ELSEWHERE.items():
        file, _, name = test.partition("::")
        assert f"def {name}(" in next(TESTS.rglob(file)).read_text(), (where, test)
