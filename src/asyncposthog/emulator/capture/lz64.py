"""LZ-string, base64 flavour: how browser SDKs of years ago packed their events."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["decompressed"]

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_END = 2


class _Broken(Exception):
    """The text is not in this format."""


def decompressed(text: str, limit: int) -> bytes | None:
    """The UTF-8 of what was packed; None when the text is not in this format.

    Args:
        text: Base64 letters.
        limit: About how many characters to unpack at most.
    """
    try:
        units = "".join(_phrases(_Bits(text.strip()), limit))
        return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode()
    except (_Broken, UnicodeError):
        return None


class _Bits:
    """Numbers of any width, lowest bit first, out of letters read from their highest bit on."""

    def __init__(self, text: str) -> None:
        self._stream = self._read(text.rstrip("="))

    def take(self, width: int) -> int:
        """The next number of so many bits."""
        try:
            return sum(next(self._stream) << place for place in range(width))
        except (StopIteration, RuntimeError):
            raise _Broken from None

    @staticmethod
    def _read(text: str) -> Iterator[int]:
        for letter in text:
            value = _VALUES.get(letter)
            if value is None:
                raise _Broken
            for place in range(5, -1, -1):
                yield value >> place & 1


def _phrases(bits: _Bits, limit: int) -> Iterator[str]:
    """The phrases of a dictionary that grows as it is read; 0 and 1 announce a new character."""
    book: dict[int, str] = {}
    following, width, room = 3, 2, 1
    previous, length = "", 0
    while True:
        code = bits.take(width)
        if code == _END:
            return
        if code < _END:
            book[following] = chr(bits.take(16 if code else 8))
            code, following, room = following, following + 1, room - 1
            if not room:
                room, width = 1 << width, width + 1
        phrase = book.get(code)
        if phrase is None:
            if code != following or not previous:
                raise _Broken
            phrase = previous + previous[0]
        yield phrase
        length += len(phrase)
        if length > limit:
            raise _Broken
        if previous:
            book[following] = previous + phrase[0]
            following, room = following + 1, room - 1
            if not room:
                room, width = 1 << width, width + 1
        previous = phrase
