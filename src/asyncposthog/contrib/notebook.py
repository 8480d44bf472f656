"""HogQL cells, tables and progress bars in notebooks: `%load_ext asyncposthog.contrib.notebook`.

```
%%hogql pageviews --polars
SELECT event, count() AS n FROM events WHERE timestamp > {since} GROUP BY event
```

Values of placeholders are the variables of those names. Needs `asyncposthog[notebook]`.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast
from weakref import WeakKeyDictionary

from asyncposthog import dbapi
from asyncposthog.client import AsyncPostHog
from asyncposthog.export.report import Progress, Report
from asyncposthog.model import Model
from asyncposthog.pagination.html_table import html_table
from asyncposthog.query.result import QueryResult
from asyncposthog.query.sql_scan import scan_sql

try:
    from IPython.core.error import UsageError
    from IPython.core.magic import Magics, line_cell_magic, magics_class

    _display: Any = import_module("IPython.display")  # it is typed in part only
except ImportError:
    raise ImportError("This needs IPython: pip install 'asyncposthog[notebook]'.") from None

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["ProgressBar", "load_ipython_extension", "unload_ipython_extension"]

_DEFAULT_CLIENT: Final = "ph"
_SERVER_PLACEHOLDERS: Final = frozenset({"filters", "variables"})
"""Placeholders that the server fills in itself."""


class _Arguments(argparse.ArgumentParser):
    """The arguments of `%%hogql`. A mistake is an error of the cell, not the end of the program."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"%hogql: {message}. {self.format_usage().strip()}")


def _new_parser() -> _Arguments:
    parser = _Arguments(prog="%%hogql", add_help=False)
    parser.add_argument("name", nargs="?", help="the variable that gets the result")
    forms = parser.add_mutually_exclusive_group()
    for form in ("arrow", "pandas", "polars"):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form)
    parser.add_argument("--client", default=None, help="the variable with the client")
    parser.add_argument("--quiet", "-q", action="store_true", help="show nothing")
    return parser


@magics_class
class HogQLMagics(Magics):
    """The magics `%hogql SELECT …` and `%%hogql`."""

    def __init__(self, shell: Any) -> None:
        """Start without connections. One is opened for each client that is used."""
        super().__init__(shell)
        self._parser = _new_parser()
        self._connections: WeakKeyDictionary[AsyncPostHog, dbapi.Connection] = WeakKeyDictionary()
        self._own_client: AsyncPostHog | None = None

    @line_cell_magic
    def hogql(self, line: str, cell: str | None = None) -> Any:
        """Run HogQL and return the result.

        `%%hogql [NAME] [--arrow | --pandas | --polars] [--client NAME] [-q]`; as a line,
        `%hogql SELECT …`. The client is the variable `ph`, or is built from the environment.

        Args:
            line: The arguments; without a cell, the query.
            cell: The query.

        Raises:
            UsageError: An argument is wrong, or a variable is missing.
            PostHogError: The query failed.
        """
        arguments = self._parser.parse_args([] if cell is None else shlex.split(line))
        sql = line if cell is None else cell
        if not sql.strip():
            raise UsageError("%hogql: the query is empty")
        name = arguments.name
        if name is not None and not name.isidentifier():
            raise UsageError(f"%hogql: {name!r} is not the name of a variable")
        connection = self._connection(arguments.client)
        result = connection.loop.run(partial(connection.query, sql, self._values(sql)))
        converted = self._converted(result, arguments.form)
        if name is not None:
            self._variables[name] = converted
        return None if arguments.quiet else converted

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self._connections.values()):
            connection.close()
        self._connections.clear()

    @property
    def _variables(self) -> dict[str, Any]:
        return cast("Any", self.shell).user_ns

    def _values(self, sql: str) -> Mapping[str, Any]:
        """Return the variables that placeholders of a query name.

        Raises:
            UsageError: A variable is missing.
        """
        values: dict[str, Any] = {}
        for placeholder in scan_sql(sql).placeholders:
            name = placeholder.name
            if name in self._variables:
                values[name] = self._variables[name]
            elif name and name not in _SERVER_PLACEHOLDERS:
                raise UsageError(f"%hogql: the query has {{{name}}}, and no variable has that name")
        return values

    def _connection(self, name: str | None) -> dbapi.Connection:
        client = self._variables.get(name or _DEFAULT_CLIENT)
        if not isinstance(client, AsyncPostHog):
            if name is not None:
                raise UsageError(f"%hogql: the variable {name!r} is not an AsyncPostHog")
            client = self._own_client = self._own_client or AsyncPostHog()
        connection = self._connections.get(client)
        if connection is None:
            connection = self._connections[client] = dbapi.connect(client)
        return connection

    @staticmethod
    def _converted(result: QueryResult, form: str | None) -> Any:
        return result if form is None else getattr(cast("Any", result), f"to_{form}")()


class ProgressBar:
    """A progress bar in a notebook: `await job.to_parquet("x/", on_progress=ProgressBar())`."""

    def __init__(self) -> None:
        """Show nothing before the first progress."""
        self._handle: Any = None

    def __call__(self, progress: Progress) -> None:
        """Show the progress of an export."""
        html = _display.HTML(progress_html(progress))
        if self._handle is None:
            self._handle = _display.display(html, display_id=True)
        else:
            self._handle.update(html)


def progress_html(progress: Progress) -> str:
    """Return the progress of an export as HTML."""
    total = progress.expected
    bar = f'<progress value="{progress.rows}" max="{max(total or 0, progress.rows, 1)}"></progress>'
    of = "" if total is None else f" of {total:,}"
    return f"<div>{bar} {progress.rows:,}{of} rows, {progress.elapsed:.0f} s</div>"


def model_html(model: Model) -> str:
    """Return the fields of an object as an HTML table."""
    rows = list(model.raw().items())
    return html_table(type(model).__name__, ("field", "value"), rows, total=len(rows))


def report_html(report: Report) -> str:
    """Return the report of an export as an HTML table."""
    rows = [
        (field.name, getattr(report, field.name))
        for field in fields(report)
        if field.name != "files" and getattr(report, field.name) not in (0, 0.0, False, ())
    ]
    files = [(file.path, f"{file.rows:,} rows") for file in report.files]
    return html_table(
        f"Export: {report.rows:,} rows in {report.duration:,.1f} s",
        ("", "value"),
        [*rows, *files],
        total=len(rows) + len(files),
    )


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Add the magics and the tables to IPython. `%load_ext` calls this."""
    shell = cast("Any", ipython)
    shell.register_magics(HogQLMagics(shell))
    formatter = shell.display_formatter.formatters["text/html"]
    formatter.for_type(Model, model_html)
    formatter.for_type(Report, report_html)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Remove them, and close connections. `%unload_ext` calls this."""
    shell = cast("Any", ipython)
    magics = shell.magics_manager.registry.pop("HogQLMagics", None)
    if magics is not None:
        magics.close()
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("hogql", None)
    formatter = shell.display_formatter.formatters["text/html"]
    for type_ in (Model, Report):
        formatter.pop(type_, None)
