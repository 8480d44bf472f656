"""Text of a schema never becomes code."""

from __future__ import annotations

import ast

from hypothesis import example, given
from hypothesis import strategies as st

from codegen.render.text import docstring, sentence


@given(st.text())
@example('"""\nimport os\n"""')
@example('ends with a quote"')
@example("ends with a backslash\\")
@example("\\N{BULLET} \\x41 \\")
@example('ends with three quotes"""')
@example('\\"')
def test_a_docstring_is_one_string_literal(text: str) -> None:
    source = f"def f():\n{docstring(text, 4)}\n    return 1\n"
    body = ast.parse(source).body
    assert len(body) == 1
    function = body[0]
    assert isinstance(function, ast.FunctionDef)
    assert len(function.body) == 2
    first = function.body[0]
    assert isinstance(first, ast.Expr)
    assert isinstance(first.value, ast.Constant)


@given(st.text(), st.integers(20, 200))
def test_a_sentence_is_short_and_on_one_line(text: str, limit: int) -> None:
    result = sentence(text, limit)
    assert len(result) <= limit + 2
    assert "\n" not in result
