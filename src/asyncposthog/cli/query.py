"""`query`: run one query, and print its rows as a table or in a format for programs."""

from __future__ import annotations

import csv
import io
import json
import sys
import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias, cast

from pydantic_core import to_json

from .error_messages import UsageError
from .files import atomic_write, check_output_path
from .session import session
from .terminal import is_tty, print_status, print_success, stderr_console, table, to_text
from .values import parse_values

if TYPE_CHECKING:
    from asyncposthog.export.targets import FileFormat
    from asyncposthog.query.execution import QueryProgress
    from asyncposthog.query.result import QueryResult

__all__ = ["QueryOptions", "RowFormat", "read_query_text", "run_query"]

RowFormat: TypeAlias = Literal["auto", "table", "json", "jsonl", "csv", "parquet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """Options of the command."""

    query: str
    values: Sequence[str] = ()
    format: RowFormat = "auto"
    output: Path | None = None
    overwrite: bool = False
    mode: Literal["auto", "blocking", "async"] = "auto"
    timeout: float | None = None
    cached: bool = False


async def run_query(options: QueryOptions) -> None:
    """Run the query and write its rows."""
    output_format = _resolve_format(options)
    if options.output is not None:
        check_output_path(options.output, overwrite=options.overwrite)
    query = _query(options.query)
    values = parse_values(options.values)
    if values and not isinstance(query, str):
        raise UsageError("--value is for HogQL; this query is JSON.")
    # Imported here: `--help` and the other commands need not load the query package.
    from asyncposthog.query.result import TruncatedResultWarning

    async with session.make_client() as client:
        with _waiting() as on_progress, warnings.catch_warnings(record=True) as captured:
            # Python shows a warning once per source line otherwise.
            warnings.simplefilter("always")
            result = await client.query(
                query,
                values=values or None,
                mode=options.mode,
                # `blocking` accepts a cached result, `force_blocking` does not.
                refresh="blocking" if options.cached else "force_blocking",
                timeout=options.timeout,
                on_progress=on_progress,
            )
    _write(result, output_format, options.output)
    for warning in captured:
        if issubclass(warning.category, TruncatedResultWarning):
            print_status(_warn_truncated(result), style="yellow")


def _resolve_format(options: QueryOptions) -> RowFormat:
    output_format, output = options.format, options.output
    if output_format == "auto" and output is not None:
        output_format = cast("RowFormat", output.suffix.lstrip(".") or "jsonl")
        if output_format not in {"json", "jsonl", "csv", "parquet"}:
            raise UsageError(f"{output}: the name has no known format.", "Add --format.")
    if output_format == "auto":
        output_format = "table" if is_tty() else "jsonl"
    if output_format == "table" and output is not None:
        raise UsageError("A table cannot be written to a file.", "Use --format csv, json or jsonl.")
    if output_format == "parquet" and output is None:
        raise UsageError("Parquet cannot be written to stdout.", "Add --output FILE.")
    if output is not None:
        _check_name(output, output_format)
    return output_format


def _check_name(output: Path, format: RowFormat) -> None:
    """Check that the name of a file does not imply another format."""
    from asyncposthog.export.targets import parse_target  # only where a file is written

    try:
        parse_target(output, "jsonl" if format == "json" else cast("FileFormat", format))
    except ValueError as error:
        raise UsageError(f"--output {error}.") from None
    if output.suffix.lower() == ".gz":
        raise UsageError(
            f"{output}: the result of a query is not compressed.",
            "Use a name without .gz, or `asyncposthog export hogql`.",
        )


def read_query_text(value: str) -> str:
    """Return a query: the argument itself, the content of a file, or stdin.

    Raises:
        UsageError: It is empty.
    """
    if value == "-":
        text = sys.stdin.read()
    elif value.startswith("@"):
        text = Path(value[1:]).read_text(encoding="utf-8")
    else:
        text = value
    if not text.strip():
        raise UsageError("The query is empty.")
    return text


def _query(value: str) -> str | dict[str, Any]:
    """Return the query: HogQL as text, or a JSON object as a node."""
    text = read_query_text(value)
    # HogQL never starts with a brace.
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise UsageError(f"The query starts like JSON, but is invalid: {error}.") from None
    return text


@contextmanager
def _waiting() -> Generator[Any]:
    """Show on a terminal that a query runs in the background, and its progress."""
    if not sys.stderr.isatty():
        yield None
        return
    with stderr_console().status("Running the query…") as status:

        def on_progress(progress: QueryProgress) -> None:
            status_text = f"{progress.elapsed:.0f} s"
            if progress.rows_total:
                status_text += (
                    f", {progress.rows_read:,} of about {progress.rows_total:,} rows read"
                )
            status.update(f"{'Running' if progress.started else 'Waiting its turn'}: {status_text}")

        yield on_progress


def _warn_truncated(result: QueryResult) -> str:
    rows = len(result)
    if rows < 50_000:
        return f"Only {rows:,} rows are here: without a LIMIT, PostHog gives 100."
    return f"Only {rows:,} rows are here: PostHog gives no more for one query. Use export."


def _write(result: QueryResult, output_format: RowFormat, output: Path | None) -> None:
    tabular = _tabular(result)
    if not tabular:
        if output_format in {"csv", "parquet"}:
            raise UsageError("The result of this query is not a table.", "Use --format json.")
        output_format = "json"
    if output_format == "table":
        table(result.columns, result.rows)
        return
    if output is None:
        sys.stdout.flush()
        _encode(result, output_format, sys.stdout.buffer, tabular)
        return
    with atomic_write(output) as file:
        _encode(result, output_format, file, tabular)
    print_success(f"{output}: {len(result):,} rows." if tabular else f"{output} is written.")


def _tabular(result: QueryResult) -> bool:
    try:
        len(result)
    except TypeError:
        return False
    return True


def _encode(result: QueryResult, format: RowFormat, file: IO[bytes], tabular: bool) -> None:
    if not tabular:
        file.write(to_json(result.results, indent=2 if format == "json" else None) + b"\n")
    elif format == "json":
        lines = [to_json(row, inf_nan_mode="constants") for row in result.dicts()]
        file.write(b"[\n" + b",\n".join(lines) + b"\n]\n" if lines else b"[]\n")
    elif format == "jsonl":
        for row in result.dicts():
            file.write(to_json(row, inf_nan_mode="constants") + b"\n")
    elif format == "csv":
        _encode_csv(result.columns, result.rows, file)
    else:
        rows: Any = cast("Any", result).to_arrow(uuids=True)  # it says which extra is missing
        parquet: Any = import_module("pyarrow.parquet")
        parquet.write_table(rows, file, compression="zstd")


def _encode_csv(columns: Iterable[str], rows: Iterable[Sequence[Any]], file: IO[bytes]) -> None:
    # csv writes text, and the file is binary. detach() below keeps the wrapper from closing the
    # file.
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_csv_cell(value) for value in row])
    finally:
        text.detach()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None or isinstance(value, str | int | float) else _flat(value)


def _flat(value: Any) -> str:
    """Return a value as JSON, without quotes around a single text."""
    if isinstance(value, dict | list | tuple):
        return to_text(value)
    return to_text(value).strip('"')
