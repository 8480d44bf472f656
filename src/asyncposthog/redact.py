"""Mask API keys in logs and exceptions.

Keys are recognized by their prefix, and those of existing clients by their value, which finds keys
without a prefix as well. All functions take linear time: the text may come from a hostile server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final, NoReturn
from urllib.parse import quote
from weakref import WeakValueDictionary

__all__ = ["Redactor", "Unpicklable", "mask", "mask_target"]

# Every repetition is possessive or ends at a character that it cannot match, so that there is no
# backtracking and the time is linear.
_KEYS: Final = re.compile(
    r"(?<![A-Za-z0-9])(ph[a-z]_)[A-Za-z0-9_-]++|\b(bearer\s++)[^\s\"',;<>]++", re.IGNORECASE
)
_KEYS_IN_BYTES: Final = re.compile(_KEYS.pattern.encode(), re.IGNORECASE)
# Part of every key, in lower case, and much faster to search for.
_HINT: Final = re.compile(r"ph._", re.DOTALL)
_HINT_IN_BYTES: Final = re.compile(rb"ph._", re.DOTALL)
_PARAMETER: Final = re.compile(r"(?:^|[?&])([^=&?]*+)=")
_VALUE: Final = re.compile(r"[^&#]*+")
_SECRET_NAME: Final = re.compile(
    r"token|secret|password|signature|credential|api_?key", re.IGNORECASE
)

_MIN_SECRET_CHARS: Final = 6
"""Shorter secrets are not masked by value: they occur in any text by chance."""


def mask(text: str) -> str:
    """Return text with the keys of existing clients, and all keys and bearer tokens, masked."""
    for value in _live_secrets(text):
        text = text.replace(value, _masked(value))
    lower = text.lower()
    if "bearer" not in lower and not _HINT.search(lower):
        return text
    return _KEYS.sub(lambda m: f"{m[1] or m[2]}***", text)


def mask_target(target: str) -> str:
    """Return a path with secret-like query parameters and API keys masked."""
    pieces: list[str] = []
    done = 0
    while match := _PARAMETER.search(target, done):
        end = match.end()
        pieces.append(target[done:end])
        if _SECRET_NAME.search(match[1]):
            value = _VALUE.match(target, end)
            pieces.append("***")
            end = value.end() if value else end
        done = end
    return mask("".join([*pieces, target[done:]]))


class Unpicklable:
    """Base class of internal objects with an API key. They cannot be pickled or copied."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        """Raise an error: a pickle would contain the key.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied: it contains the API key. "
            "Build a client where it is needed."
        )


class Redactor(Unpicklable):
    """Masks all keys that have a prefix, and the given secrets."""

    __slots__ = ("__weakref__", "_values")

    def __init__(self, secrets: Iterable[str]) -> None:
        """Keep the secrets, and their forms in URLs, JSON and Python literals."""
        maskable = [s for s in secrets if len(s) >= _MIN_SECRET_CHARS]
        forms = {
            form
            for s in maskable
            for form in (s, quote(s, safe=""), json.dumps(s)[1:-1], repr(s.encode())[2:-1])
        }
        # The longest first: a short form may be part of a longer one.
        self._values = tuple(sorted(forms, key=len, reverse=True))
        _live_redactors[id(self)] = self

    def __call__(self, text: str) -> str:
        """Return text with these secrets, and the keys of all other clients, masked."""
        return mask(text)

    def mask_bytes(self, content: bytes) -> bytes:
        """Return bytes with these secrets and all other keys masked."""
        for value in self._values:
            content = content.replace(value.encode(), _masked(value).encode())
        lower = content.lower()
        if b"bearer" not in lower and not _HINT_IN_BYTES.search(lower):
            return content
        return _KEYS_IN_BYTES.sub(lambda m: (m[1] or m[2]) + b"***", content)


# The redactors of all existing clients: exceptions are created where the client is unknown.
_live_redactors: WeakValueDictionary[int, Redactor] = WeakValueDictionary()


def _live_secrets(text: str) -> list[str]:
    """Return the secrets of all existing clients that are in a text, the longest first."""
    # `valuerefs` is a copy: another thread may build a client during the iteration.
    found = [
        value
        for reference in _live_redactors.valuerefs()
        if (redactor := reference())
        for value in redactor._values  # pyright: ignore[reportPrivateUsage]
        if value in text
    ]
    return sorted(found, key=len, reverse=True)


def _masked(value: str) -> str:
    return f"{value[:4]}***" if value[:3].startswith("ph") and value[3:4] == "_" else "***"
