"""Exceptions of the embedded ClickHouse, by its error codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = [
    "ClickHouseError",
    "EngineMissingError",
    "EngineUnavailableError",
    "MemoryLimitError",
    "MissingFunctionError",
    "QueryCancelledError",
    "QuerySyntaxError",
    "QueryTimeoutError",
    "ScanLimitError",
    "clickhouse_error",
]


class EngineMissingError(ImportError):
    """The engine is not installed, or has no build for this platform. The message says which."""


class EngineUnavailableError(RuntimeError):
    """The engine cannot be used in this process. The message says why."""


class ClickHouseError(Exception):
    """ClickHouse rejected a query, or the query failed.

    Args:
        code: The number of the error, such as 62; 0 if the message has none.
        name: The name of the error, such as `SYNTAX_ERROR`.
        message: What is wrong, without the prefixes and suffixes that ClickHouse adds.
    """

    def __init__(self, code: int, name: str, message: str) -> None:
        self.code = code
        self.name = name
        self.message = message
        super().__init__(f"{message} ({name})")


class QueryTimeoutError(ClickHouseError):
    """The query ran longer than `max_execution_time`."""


class MemoryLimitError(ClickHouseError):
    """The query needed more memory than `max_memory_usage`."""


class ScanLimitError(ClickHouseError):
    """The query would read more rows or bytes than its settings allow."""


class QueryCancelledError(ClickHouseError):
    """The query was cancelled."""


class QuerySyntaxError(ClickHouseError):
    """The query is not valid SQL."""


class MissingFunctionError(ClickHouseError):
    """ClickHouse has no function of this name. `function` is the name."""

    function: str = ""


_CLASSES: Final[Mapping[int, type[ClickHouseError]]] = {
    46: MissingFunctionError,
    62: QuerySyntaxError,
    63: MissingFunctionError,  # aggregate functions
    158: ScanLimitError,
    159: QueryTimeoutError,
    160: QueryTimeoutError,
    173: MemoryLimitError,
    241: MemoryLimitError,
    307: ScanLimitError,
    394: QueryCancelledError,
    735: QueryCancelledError,
}
_OTHER_BUILD: Final = (
    "The build chdb-core-lite has fewer functions than ClickHouse: if it should exist, install "
    "chdb-core in its place."
)
_PREFIX: Final = re.compile(r"^(?:.*?Code: (?P<code>\d+)\. )?(?:DB::Exception: )?", re.DOTALL)
_NAME: Final = re.compile(r"\(([A-Z][A-Z0-9_]+)\)\s*$")
_VERSION: Final = re.compile(r" \(version [\d.]+[^()]*\)")
_REPEATED: Final = re.compile(r"^Code: \d+\. DB::Exception: ")
_SCOPE: Final = re.compile(
    r":? (?:In|in) scope (?:SELECT|WITH|\().*?(?=(?:\. Maybe you meant: \[|$))", re.DOTALL
)
_WHILE: Final = re.compile(r": (?:while|While) (?:executing|processing|reading)\b.*$", re.DOTALL)
_EXPECTED: Final = re.compile(r"\. Expected one of: .*$", re.DOTALL)
_SUFFIX: Final = re.compile(r"_(?:UInt|Int)(?:8|16|32|64)\b|_String\b")
_TABLE: Final = re.compile(r"\b(?:__table\d+|emulator_\d+)\.(?:(?=\w+\.)\w+\.)?")
_QUERY: Final = re.compile(r"\.? In query .*$", re.DOTALL)
_FUNCTION: Final = re.compile(
    r"(?:Function with name [`'](?P<a>[^`']+)[`']|[Uu]nknown (?:aggregate )?function (?P<b>[\w]+))"
)


def clickhouse_error(text: str) -> ClickHouseError:
    """Return the exception for an error message of the engine.

    Args:
        text: The message, such as `Code: 62. DB::Exception: Syntax error: … (SYNTAX_ERROR)`.
    """
    text = text.strip()
    prefix = _PREFIX.match(text)
    code = int(prefix["code"] or 0) if prefix is not None else 0
    body = text if prefix is None else text[prefix.end() :]
    name_match = _NAME.search(body)
    name = "UNKNOWN_EXCEPTION" if name_match is None else name_match[1]
    # Remote and nested errors repeat the whole envelope inside: only the innermost text matters.
    body = _VERSION.sub("", _NAME.sub("", body).rstrip())
    body = _NAME.sub("", _REPEATED.sub("", body).rstrip().removesuffix(".")).rstrip()
    kind = _CLASSES.get(code, ClickHouseError)
    message = _clean(body)
    if kind is not MissingFunctionError:
        return kind(code, name, message)
    match = _FUNCTION.search(body)
    function = "" if match is None else match["a"] or match["b"]
    error = MissingFunctionError(code, name, f"{message} {_OTHER_BUILD}")
    error.function = function
    return error


def _clean(message: str) -> str:
    # The scope and the executed expression show the printed query, with its internal names.
    message = _WHILE.sub("", _SCOPE.sub("", _QUERY.sub("", message)))
    message = _TABLE.sub("", _SUFFIX.sub("", _EXPECTED.sub("", message)))
    return message.replace("..", ".").strip().rstrip(":").rstrip()
