"""Decompress and decode the body of a legacy capture request.

Includes LZ-string (in its base64 variant), which old browser SDKs use.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from pydantic_core import from_json

from posthog_emulator.http.errors import PlainTextError
from posthog_emulator.http.messages import Request

from .codecs import inflate
from .errors import decode_error, parse_error, too_large_error

__all__ = ["decompress_lzstring", "read_payload"]

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_END = 2


class _InvalidLzString(Exception):
    """The text is not LZ-string data."""


def decompress_lzstring(text: str, limit: int) -> bytes | None:
    """Decompress LZ-string data to UTF-8; return None if the text is not in this format.

    Args:
        text: Base64 characters.
        limit: The approximate maximum number of characters of the result.
    """
    try:
        units = "".join(_decode_phrases(_BitReader(text.strip()), limit))
        return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode()
    except (_InvalidLzString, UnicodeError):
        return None


class _BitReader:
    """A reader of numbers, lowest bit first, from base64 characters, highest bit first."""

    def __init__(self, text: str) -> None:
        self._stream = self._iterate(text.rstrip("="))

    def read(self, width: int) -> int:
        """Read the next number of `width` bits."""
        try:
            return sum(next(self._stream) << position for position in range(width))
        except (StopIteration, RuntimeError):
            raise _InvalidLzString from None

    @staticmethod
    def _iterate(text: str) -> Iterator[int]:
        for letter in text:
            value = _VALUES.get(letter)
            if value is None:
                raise _InvalidLzString
            for position in range(5, -1, -1):
                yield value >> position & 1


def _decode_phrases(bits: _BitReader, limit: int) -> Iterator[str]:
    """Yield the phrases of LZ-string data.

    The dictionary grows while it is read. The codes 0 and 1 introduce a new character of 8 or 16
    bits, 2 ends the data, and codes get one bit wider whenever the dictionary is full.
    """
    book: dict[int, str] = {}
    following, width, room = 3, 2, 1
    previous, length = "", 0
    while True:
        code = bits.read(width)
        if code == _END:
            return
        if code < _END:
            book[following] = chr(bits.read(16 if code else 8))
            code, following, room = following, following + 1, room - 1
            if not room:
                room, width = 1 << width, width + 1
        phrase = book.get(code)
        if phrase is None:
            if code != following or not previous:
                raise _InvalidLzString
            phrase = previous + previous[0]
        yield phrase
        length += len(phrase)
        if length > limit:
            raise _InvalidLzString
        if previous:
            book[following] = previous + phrase[0]
            following, room = following + 1, room - 1
            if not room:
                room, width = 1 << width, width + 1
        previous = phrase


_GZIP = b"\x1f\x8b"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_FORM = "application/x-www-form-urlencoded"
_NO_DATA = "request missing data payload"


def read_payload(request: Request, limit: int) -> tuple[Any, int]:
    """Return the JSON value of a request and the length of its text in bytes.

    Args:
        request: The body may be JSON, or JSON compressed with gzip (detected by its first bytes),
            base64 or LZ-string, as it is or as the field `data` of a form or of the query.
        limit: The maximum number of bytes, compressed and decompressed.

    Raises:
        PlainTextError: 400 or 413.
    """
    content, packing = request.content, request.query_value("compression") or ""
    if len(content) > limit:
        raise too_large_error(limit)
    if request.method == "GET":
        content = (request.query_value("data") or "").encode("utf-8", "replace")
        packing = packing or "base64"
    # As on the server, forms are also detected by their content.
    elif content.startswith(b"data=") or request.headers.get("content-type", "").startswith(_FORM):
        fields = parse_qs(content.decode("latin-1"), keep_blank_values=True)
        packing = fields.get("compression", [packing])[0] or "base64"
        content = unquote_to_bytes(fields.get("data", [""])[0].encode("latin-1"))
    if not content:
        raise PlainTextError(400, _NO_DATA)
    text = _decompress(content, packing, limit)
    if len(text) > limit:
        raise too_large_error(limit)
    try:
        # Only names are worth a look-up in its cache: most texts of events are never seen again.
        return from_json(text, allow_inf_nan=False, cache_strings="keys"), len(text)
    except ValueError as error:
        raise parse_error(error) from None


def _decompress(content: bytes, packing: str, limit: int) -> bytes:
    if content.startswith(_GZIP):
        return inflate(content, 31, limit)
    if packing == "lz64":
        unpacked = decompress_lzstring(content.decode("latin-1"), limit)
        if unpacked is None:
            raise decode_error("invalid lz64 data")
        return unpacked
    if packing == "base64" and content.lstrip()[:1] not in (b"{", b"["):
        try:
            # A plus sign that was not escaped in a form arrives as a space.
            padded = content.strip().replace(b" ", b"+") + b"=" * (-len(content.strip()) % 4)
            content = base64.b64decode(padded.translate(_URL_SAFE), validate=True)
        except (ValueError, binascii.Error) as error:
            raise decode_error(f"invalid base64: {error}") from None
        return inflate(content, 31, limit) if content.startswith(_GZIP) else content
    if packing in {"gzip", "gzip-js"}:
        raise decode_error("invalid gzip header")
    return content
