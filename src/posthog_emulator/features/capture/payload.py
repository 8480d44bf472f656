"""LZ-string, base64 flavour: how browser SDKs of years ago packed their events."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from pydantic_core import from_json

from posthog_emulator.http.messages import Request

from .errors import CaptureError, decode_error, parse_error, too_large_error

__all__ = ["decompress_lzstring", "inflate", "read_payload"]

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_END = 2


class _InvalidLzString(Exception):
    """The text is not in this format."""


def decompress_lzstring(text: str, limit: int) -> bytes | None:
    """The UTF-8 of what was packed; None when the text is not in this format.

    Args:
        text: Base64 letters.
        limit: About how many characters to unpack at most.
    """
    try:
        units = "".join(_decode_phrases(_BitReader(text.strip()), limit))
        return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode()
    except (_InvalidLzString, UnicodeError):
        return None


class _BitReader:
    """Numbers of any width, lowest bit first, out of letters read from their highest bit on."""

    def __init__(self, text: str) -> None:
        self._stream = self._iterate(text.rstrip("="))

    def read(self, width: int) -> int:
        """The next number of so many bits."""
        try:
            return sum(next(self._stream) << place for place in range(width))
        except (StopIteration, RuntimeError):
            raise _InvalidLzString from None

    @staticmethod
    def _iterate(text: str) -> Iterator[int]:
        for letter in text:
            value = _VALUES.get(letter)
            if value is None:
                raise _InvalidLzString
            for place in range(5, -1, -1):
                yield value >> place & 1


def _decode_phrases(bits: _BitReader, limit: int) -> Iterator[str]:
    """The phrases of a dictionary that grows as it is read; 0 and 1 announce a new character."""
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
    """The JSON value a request carries, and the length of its text.

    Args:
        request: Its body may be JSON, or JSON packed by gzip (known by its first bytes), base64
            or LZ-string, bare or as the field `data` of a form or of the query.
        limit: The most bytes there may be, packed and unpacked.

    Raises:
        Refusal: 400 or 413.
    """
    content, packing = request.content, request.query_value("compression") or ""
    if len(content) > limit:
        raise too_large_error(limit)
    if request.method == "GET":
        content = (request.query_value("data") or "").encode("utf-8", "replace")
        packing = packing or "base64"
    elif content.startswith(b"data=") or request.headers.get("content-type", "").startswith(_FORM):
        fields = parse_qs(content.decode("latin-1"), keep_blank_values=True)
        packing = fields.get("compression", [packing])[0] or "base64"
        content = unquote_to_bytes(fields.get("data", [""])[0].encode("latin-1"))
    if not content:
        raise CaptureError(400, _NO_DATA)
    text = _decompress(content, packing, limit)
    if len(text) > limit:
        raise too_large_error(limit)
    try:
        return from_json(text, allow_inf_nan=False), len(text)
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
            # A space is a plus sign that went through a form unescaped.
            padded = content.strip().replace(b" ", b"+") + b"=" * (-len(content.strip()) % 4)
            content = base64.b64decode(padded.translate(_URL_SAFE), validate=True)
        except (ValueError, binascii.Error) as error:
            raise decode_error(f"invalid base64: {error}") from None
        return inflate(content, 31, limit) if content.startswith(_GZIP) else content
    if packing in {"gzip", "gzip-js"}:
        raise decode_error("invalid gzip header")
    return content


def inflate(content: bytes, window: int, limit: int) -> bytes:
    """Unpack gzip (window 31) or zlib (15) data, but no more than allowed.

    Raises:
        Refusal: 400, it is none; 413, there is more.
    """
    unpacker = zlib.decompressobj(window)
    try:
        text = unpacker.decompress(content, limit + 1)
    except zlib.error as error:
        raise decode_error(str(error)) from None
    if len(text) > limit:
        raise too_large_error(limit)
    if not unpacker.eof:
        raise decode_error("unexpected end of file")
    return text
