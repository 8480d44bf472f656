"""What logs and exceptions may show.

Keys are recognised by their prefixes, and those of live clients by their value, so that an
unprefixed one is found as well. Everything here takes time in proportion to the text: the text may
come from a server that wants it to take long.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final, NoReturn
from urllib.parse import quote
from weakref import WeakValueDictionary

__all__ = ["Redactor", "Unpicklable", "mask", "mask_target"]

# Every repetition is possessive or ends at a character that it cannot contain: no character is
# looked at more than a fixed number of times.
_KEYS: Final = re.compile(
    r"(?<![A-Za-z0-9])(ph[a-z]_)[A-Za-z0-9_-]++|\b(bearer\s++)[^\s\"',;<>]++", re.IGNORECASE
)
_KEYS_IN_BYTES: Final = re.compile(_KEYS.pattern.encode(), re.IGNORECASE)
# Far quicker to look for than a key, and a part of each; in lower case.
_HINT: Final = re.compile(r"ph._", re.DOTALL)
_HINT_IN_BYTES: Final = re.compile(rb"ph._", re.DOTALL)
_PARAMETER: Final = re.compile(r"(?:^|[?&])([^=&?]*+)=")
_VALUE: Final = re.compile(r"[^&#]*+")
_SECRET_NAME: Final = re.compile(
    r"token|secret|password|signature|credential|api_?key", re.IGNORECASE
)

_MIN_SECRET_CHARS: Final = 6
"""Characters from which on a value is a secret: shorter ones stand in any text by chance."""


def mask(text: str) -> str:
    """Mask the keys of live clients, and everything that looks like a key or a bearer token."""
    for value in _live_secrets():
        text = text.replace(value, _masked(value))
    lower = text.lower()
    if "bearer" not in lower and not _HINT.search(lower):
        return text
    return _KEYS.sub(lambda m: f"{m[1] or m[2]}***", text)


def mask_target(target: str) -> str:
    """Mask the values of secret-like query parameters of a path, and anything like a key."""
    pieces: list[str] = []
    done = 0
    while found := _PARAMETER.search(target, done):
        end = found.end()
        pieces.append(target[done:end])
        if _SECRET_NAME.search(found[1]):
            value = _VALUE.match(target, end)
            pieces.append("***")
            end = value.end() if value else end
        done = end
    return mask("".join([*pieces, target[done:]]))


class Unpicklable:
    """A base class of internal objects that hold a key: they cannot be pickled or copied."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied: it holds the API key. Build a "
            "client where it is needed."
        )


class Redactor(Unpicklable):
    """Masks keys by their looks, and the given ones wherever they stand."""

    __slots__ = ("__weakref__", "_values")

    def __init__(self, secrets: Iterable[str]) -> None:
        """Know the secrets, as they are and as a URL, JSON or Python writes them."""
        known = [s for s in secrets if len(s) >= _MIN_SECRET_CHARS]
        forms = {
            form
            for s in known
            for form in (s, quote(s, safe=""), json.dumps(s)[1:-1], repr(s.encode())[2:-1])
        }
        # The longest first: a short key may be a part of a longer form.
        self._values = tuple(sorted(forms, key=len, reverse=True))
        _live_redactors[id(self)] = self

    def __call__(self, text: str) -> str:
        """Return the text without keys: these, and those of other live clients."""
        return mask(text)

    def mask_bytes(self, content: bytes) -> bytes:
        """Return the bytes without keys."""
        for value in self._values:
            content = content.replace(value.encode(), _masked(value).encode())
        lower = content.lower()
        if b"bearer" not in lower and not _HINT_IN_BYTES.search(lower):
            return content
        return _KEYS_IN_BYTES.sub(lambda m: (m[1] or m[2]) + b"***", content)


# Those of the clients that exist, for texts that are made where no client is known.
_live_redactors: WeakValueDictionary[int, Redactor] = WeakValueDictionary()


def _live_secrets() -> list[str]:
    """Return what the live redactors look for, the longest first."""
    # Not iterated: another thread may build a client meanwhile.
    redactors = [redactor for reference in _live_redactors.valuerefs() if (redactor := reference())]
    values = {value for redactor in redactors for value in redactor._values}  # pyright: ignore[reportPrivateUsage]
    return sorted(values, key=len, reverse=True)


def _masked(value: str) -> str:
    return f"{value[:4]}***" if value[:3].startswith("ph") and value[3:4] == "_" else "***"
