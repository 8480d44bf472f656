"""Decompress request bodies of limited size: gzip, deflate, brotli and zstd."""

from __future__ import annotations

import importlib
import zlib
from typing import Any, Final

from posthog_emulator.http.errors import PlainTextError

from .errors import decode_error, too_large_error

__all__ = ["ENCODINGS", "decompress", "inflate"]

_GZIP_WINDOW: Final = 31
_ZLIB_WINDOW: Final = 15
_ARROW_CODECS: Final = {"br": "brotli", "zstd": "zstd"}

ENCODINGS: Final = frozenset({"gzip", "deflate", *_ARROW_CODECS})
"""The values of `Content-Encoding` that can be decompressed."""


def decompress(content: bytes, encoding: str, limit: int) -> bytes:
    """Decompress a body by the name of its encoding, which must be one of `ENCODINGS`.

    Raises:
        PlainTextError: 400, the data is malformed; 413, it is larger than `limit` bytes.
    """
    if encoding in _ARROW_CODECS:
        return _decompress_with_arrow(content, _ARROW_CODECS[encoding], limit)
    return inflate(content, _GZIP_WINDOW if encoding == "gzip" else _ZLIB_WINDOW, limit)


def inflate(content: bytes, window: int, limit: int) -> bytes:
    """Decompress gzip (window 31) or zlib (window 15) data of limited size.

    Raises:
        PlainTextError: 400, the data is malformed; 413, it is larger than `limit` bytes.
    """
    # One byte over the limit is enough to detect an oversized body, even a decompression bomb.
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


def _decompress_with_arrow(content: bytes, codec: str, limit: int) -> bytes:
    # Python has neither codec before 3.14, but pyarrow has both.
    try:
        arrow: Any = importlib.import_module("pyarrow")
    except ImportError:
        raise PlainTextError(415, f"{codec} bodies need pyarrow: pip install pyarrow") from None
    try:
        with arrow.CompressedInputStream(arrow.BufferReader(content), codec) as stream:
            text: bytes = stream.read(limit + 1)
    except OSError as error:
        raise decode_error(str(error)) from None
    if len(text) > limit:
        raise too_large_error(limit)
    return text
