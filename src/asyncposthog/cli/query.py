"""`query`: one query, its rows as a table or in a form for programs."""

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

from .error_messages import UsageProblem
from .files import check_new, whole_file
from .session import session
from .terminal import is_tty, note, print_success, stderr_console, table, to_text
from .values import read_values

if TYPE_CHECKING:
    from asyncposthog.export.targets import Form
    from asyncposthog.query.execution import QueryProgress
    from asyncposthog.query.result import QueryResult

__all__ = ["QueryOptions", "RowFormat", "ask", "read_text"]

RowFormat: TypeAlias = Literal["auto", "table", "json", "jsonl", "csv", "parquet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """What the command asks for."""

    query: str
    values: Sequence[str] = ()
    format: RowFormat = "auto"
    output: Path | None = None
    force: bool = False
    mode: Literal["auto", "blocking", "async"] = "auto"
    timeout: float | None = None
    cached: bool = False


async def ask(question: QueryOptions) -> None:
    """Run the query and write its rows."""
    form = _form(question)
    if question.output is not None:
        check_new(question.output, force=question.force)
    query = _query(question.query)
    values = read_values(question.values)
    if values and not isinstance(query, str):
        raise UsageProblem("--value is for HogQL; this query is JSON.")
    async with session.client() as client:
        with _waiting() as watch, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = await client.query(
                query,
                values=values or None,
                mode=question.mode,
                refresh="blocking" if question.cached else "force_blocking",
                timeout=question.timeout,
                on_progress=watch,
            )
    _write(result, form, question.output)
    for warning in caught:
        if "cut at" in str(warning.message):
            note(_warn_truncated(result), style="yellow")


def _form(question: QueryOptions) -> RowFormat:
    form, output = question.format, question.output
    if form == "auto" and output is not None:
        form = cast("RowFormat", output.suffix.lstrip(".") or "jsonl")
        if form not in {"json", "jsonl", "csv", "parquet"}:
            raise UsageProblem(f"{output}: the name says no format.", "Give --format.")
    if form == "auto":
        form = "table" if is_tty() else "jsonl"
    if form == "table" and output is not None:
        raise UsageProblem("A table is for the terminal.", "Give --format csv, json or jsonl.")
    if form == "parquet" and output is None:
        raise UsageProblem("Parquet needs a file.", "Give --output FILE.")
    if output is not None:
        _check_name(output, form)
    return form


def _check_name(output: Path, form: RowFormat) -> None:
    """Refuse a name that says another format than the one that is written."""
    from asyncposthog.export.targets import read_target  # only where a file is written

    try:
        read_target(output, "jsonl" if form == "json" else cast("Form", form))
    except ValueError as error:
        raise UsageProblem(f"--output {error}.") from None
    if output.suffix.lower() == ".gz":
        raise UsageProblem(
            f"{output}: the result of a query is not compressed.",
            "Use a name without .gz, or `asyncposthog export hogql`.",
        )


def read_text(given: str) -> str:
    """Return a query: as it stands, of a file, or of stdin.

    Raises:
        UsageProblem: There is nothing in it.
    """
    if given == "-":
        text = sys.stdin.read()
    elif given.startswith("@"):
        text = Path(given[1:]).read_text(encoding="utf-8")
    else:
        text = given
    if not text.strip():
        raise UsageProblem("The query is empty.")
    return text


def _query(given: str) -> str | dict[str, Any]:
    """Read the query; an object of JSON is a node."""
    text = read_text(given)
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise UsageProblem(f"The query begins like JSON, and is none: {error}.") from None
    return text


@contextmanager
def _waiting() -> Generator[Any]:
    """Show on a terminal that a query runs in the background, and how far it has come."""
    if not sys.stderr.isatty():
        yield None
        return
    with stderr_console().status("Running the query…") as status:

        def watch(progress: QueryProgress) -> None:
            told = f"{progress.elapsed:.0f} s"
            if progress.rows_total:
                told += f", {progress.rows_read:,} of about {progress.rows_total:,} rows read"
            status.update(f"{'Running' if progress.started else 'Waiting its turn'}: {told}")

        yield watch


def _warn_truncated(result: QueryResult) -> str:
    rows = len(result)
    if rows < 50_000:
        return f"Only {rows:,} rows are here: without a LIMIT, PostHog gives 100."
    return f"Only {rows:,} rows are here: PostHog gives no more for one query. Use export."


def _write(result: QueryResult, form: RowFormat, output: Path | None) -> None:
    tabular = _tabular(result)
    if not tabular:
        if form in {"csv", "parquet"}:
            raise UsageProblem("This query gives no table.", "Use --format json.")
        form = "json"
    if form == "table":
        table(result.columns, result.rows)
        return
    if output is None:
        sys.stdout.flush()
        _encode(result, form, sys.stdout.buffer, tabular)
        return
    with whole_file(output) as file:
        _encode(result, form, file, tabular)
    print_success(f"{output}: {len(result):,} rows." if tabular else f"{output} is written.")


def _tabular(result: QueryResult) -> bool:
    try:
        len(result)
    except TypeError:
        return False
    return True


def _encode(result: QueryResult, form: RowFormat, file: IO[bytes], tabular: bool) -> None:
    if not tabular:
        file.write(to_json(result.results, indent=2 if form == "json" else None) + b"\n")
    elif form == "json":
        lines = [to_json(row, inf_nan_mode="constants") for row in result.dicts()]
        file.write(b"[\n" + b",\n".join(lines) + b"\n]\n" if lines else b"[]\n")
    elif form == "jsonl":
        for row in result.dicts():
            file.write(to_json(row, inf_nan_mode="constants") + b"\n")
    elif form == "csv":
        _encode_csv(result.columns, result.rows, file)
    else:
        rows: Any = cast("Any", result).to_arrow(uuids=True)  # it says which extra is missing
        parquet: Any = import_module("pyarrow.parquet")
        parquet.write_table(rows, file, compression="zstd")


def _encode_csv(columns: Iterable[str], rows: Iterable[Sequence[Any]], file: IO[bytes]) -> None:
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
    """Write what is no plain value as JSON would, without quotes around a single one."""
    if isinstance(value, dict | list | tuple):
        return to_text(value)
    return to_text(value).strip('"')
