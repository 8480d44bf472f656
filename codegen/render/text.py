"""The only ways a string of the schema may reach source code.

A schema is untrusted input: everything it says is either `repr`-ed into a literal or passed
through `docstring`, and every name has been made an identifier before.
"""

from __future__ import annotations

import re
import textwrap

__all__ = ["docstring", "sentence"]

_WIDTH = 96
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029]")


def docstring(text: str, indent: int) -> str:
    """Write text as a docstring literal, wrapped and escaped.

    Args:
        text: Paragraphs separated by blank lines.
        indent: Columns the literal is indented by.
    """
    margin = " " * indent
    paragraphs = [_wrap(part, _WIDTH - indent) for part in re.split(r"\n\s*\n", text.strip())]
    body = "\n\n".join(part for part in paragraphs if part)
    stem = body.rstrip('"')
    quotes = len(body) - len(stem)
    body = stem.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') + '\\"' * quotes
    lines = body.split("\n")
    if len(lines) == 1:
        return f'{margin}"""{body}"""'
    rest = "\n".join(f"{margin}{line}" if line else "" for line in lines[1:])
    return f'{margin}"""{lines[0]}\n{rest}\n{margin}"""'


def sentence(text: str, limit: int = 400) -> str:
    """Reduce prose to one clean paragraph of at most `limit` characters."""
    clean = " ".join(_CONTROL.sub(" ", text).split())
    if len(clean) <= limit:
        return clean
    return clean[: limit - 1].rsplit(" ", 1)[0] + " …"


def _wrap(paragraph: str, width: int) -> str:
    lines: list[str] = []
    for raw in _CONTROL.sub(" ", paragraph).split("\n"):
        pad = re.match(r"\s*", raw)
        start = pad.group() if pad else ""
        lines += textwrap.wrap(
            raw.strip(),
            width,
            initial_indent=start,
            subsequent_indent=start + "    " * bool(start),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)
