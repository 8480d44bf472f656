"""CSS selectors, as regular expressions over chains of elements."""

from __future__ import annotations

import re
from typing import Final

from .errors import HogQLError

__all__ = ["selector_pattern"]

_PART: Final = re.compile(r"([\w-]+|\*)?((?:[.#][\w-]+|\[[^\]]*\]|:nth-child\(\d+\))*)\Z")
_PIECE: Final = re.compile(r"\.([\w-]+)|#([\w-]+)|\[([^\]]*)\]|:nth-child\((\d+)\)")
_ATTRIBUTE: Final = re.compile(r"""\s*([\w-]+)\s*(?:=\s*["']?([^"']*)["']?)?\s*\Z""")
_REST: Final = r'([-_a-zA-Z0-9\.:"= \[\]\(\),]*?)?($|;|:([^;^\s]*(;|$|\s)))'


def selector_pattern(selector: str) -> str:
    """Return the regular expression, over a chain of elements, of a CSS selector.

    Raises:
        HogQLError: The selector is not supported.
    """
    parts, direct = list[str](), False
    # The chain names the innermost element first.
    for part in reversed(re.sub(r"\s*>\s*", " > ", selector.strip()).split()):
        if part == ">":
            direct = True
            continue
        if parts:
            parts.append("" if direct else ".*")
        parts.append(_element(part, selector))
        direct = False
    return "(^|;)" + "".join(parts)


def _element(part: str, selector: str) -> str:
    match = _PART.match(part)
    if match is None:
        raise HogQLError(f"The selector {selector!r} is not supported.")
    tag, rest = match[1], match[2] or ""
    classes, attributes = list[str](), dict[str, str]()
    for piece in _PIECE.finditer(rest):
        if piece[1]:
            classes.append(piece[1])
        elif piece[2]:
            attributes["attr_id"] = piece[2]
        elif piece[4]:
            attributes["nth-child"] = piece[4]
        else:
            attribute = _ATTRIBUTE.match(piece[3])
            if attribute is None:
                raise HogQLError(f"The selector {selector!r} is not supported.")
            name = attribute[1]
            own = name if name in {"href", "text", "nth-child", "nth-of-type"} else f"attr__{name}"
            attributes["attr_id" if name == "id" else own] = attribute[2] or ""
    text = re.escape(tag) if tag and tag != "*" else "[^;]*?" if not rest else ""
    if not tag and rest:
        text = "[^;.:]*?"
    if classes:
        text += r".*?\." + r"\..*?".join(re.escape(class_name) for class_name in sorted(classes))
    if attributes:
        text += ".*?"
        for name in sorted(attributes):
            text += f'{re.escape(name)}="{re.escape(attributes[name])}".*?'
    return text + _REST
