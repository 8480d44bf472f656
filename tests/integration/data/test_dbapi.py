"""The DB-API over a real socket: statements, parameters, streaming, threads, cancellation."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import anyio
import pytest

from asyncposthog import AsyncPostHog, dbapi
from asyncposthog.core.background import BackgroundLoop
from asyncposthog.dbapi.statements import prepare_statement
from posthog_emulator import Emulator
from tests.integration.data.conftest import ROWS


@pytest.fixture(scope="module")
def connection(data_emulator: Emulator, data_url: str) -> Iterator[dbapi.Connection]:
    with dbapi.connect(api_key=data_emulator.key, host=data_url, project_id=1) as connection:
        yield connection


def test_module_tells_what_pep_249_asks_for(connection: dbapi.Connection) -> None:
    assert (dbapi.apilevel, dbapi.threadsafety, dbapi.paramstyle) == ("2.0", 2, "qmark")
    assert connection.ProgrammingError is dbapi.ProgrammingError
    assert dbapi.STRING == "Nullable(String)"
    assert dbapi.NUMBER == "UInt64"
    assert dbapi.DATETIME == "DateTime64(6, 'UTC')"
    assert dbapi.NUMBER != "String"


def test_rows_and_description(connection: dbapi.Connection) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT event, count() AS n FROM events GROUP BY event ORDER BY event")
    assert cursor.description is not None
    assert [column[0] for column in cursor.description] == ["event", "n"]
    assert cursor.description[1][1] == dbapi.NUMBER
    first = cursor.fetchone()
    more = cursor.fetchmany(3)
    rest = cursor.fetchall()
    assert cursor.rowcount == 1 + len(more) + len(rest)
    assert sum(row[1] for row in [first or ("", 0), *more, *rest]) == ROWS
    assert cursor.fetchone() is None


def test_a_statement_without_limit_has_all_rows(connection: dbapi.Connection) -> None:
    assert len(connection.execute("SELECT uuid FROM events -- all;").fetchall()) == ROWS
    union = "SELECT uuid FROM events UNION ALL SELECT uuid FROM events"
    assert len(connection.execute(union).fetchall()) == 2 * ROWS


def test_parameters_are_values(connection: dbapi.Connection) -> None:
    hostile = "'; DROP TABLE events --{p1} ? :x"
    now = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    sql = "SELECT ?, '? :name', ?, /* ? */ event FROM events WHERE event != ? AND 1 IN ? LIMIT 1"
    row: Any = connection.execute(sql, (hostile, now, "none", [1, 2])).fetchone()
    assert row[:3] == (hostile, "? :name", now)
    sql = "SELECT :text, toDate(:day), 1::Int, ':text' -- :nobody"
    row = connection.execute(sql, {"text": hostile, "day": date(2026, 1, 2)}).fetchone()
    assert row[0] == hostile
    assert row[1:] == (date(2026, 1, 2), 1, ":text")


@pytest.mark.parametrize(
    ("sql", "parameters", "error", "message"),
    [
        ("INSERT INTO events VALUES (1)", None, dbapi.NotSupportedError, "only reads"),
        ("/* x */ drop table events", None, dbapi.NotSupportedError, "DROP would write"),
        ("EXPLAIN SELECT 1", None, dbapi.ProgrammingError, "begins with SELECT"),
        (" ; ", None, dbapi.ProgrammingError, "empty"),
        ("SELECT 1 LIMIT 60000", None, dbapi.NotSupportedError, "50,000"),
        ("SELECT 1 LIMIT ?", (60000,), dbapi.NotSupportedError, "50,000"),
        ("SELECT %s", (1,), dbapi.ProgrammingError, "not %s"),
        ("SELECT %(a)s", {"a": 1}, dbapi.ProgrammingError, "not %s"),
        ("SELECT ?", (1, 2), dbapi.ProgrammingError, "1 \\? and there are 2"),
        ("SELECT :a", {"b": 1}, dbapi.ProgrammingError, "no 'a'"),
        ("SELECT ?", "text", dbapi.ProgrammingError, "not a text"),
    ],
)
def test_bad_statements_are_rejected_before_they_are_sent(
    sql: str, parameters: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prepare_statement(sql, parameters)


def test_errors_are_those_of_pep_249(connection: dbapi.Connection, data_url: str) -> None:
    with pytest.raises(dbapi.ProgrammingError, match="nope"):
        connection.execute("SELECT nope FROM events")
    with pytest.raises(dbapi.ProgrammingError, match="time zone"):
        connection.execute("SELECT ?", (datetime(2026, 1, 1),))
    with pytest.raises(dbapi.NotSupportedError):
        connection.cursor().executemany("SELECT ?", [(1,)])
    with pytest.raises(dbapi.InterfaceError, match="execute"):
        connection.cursor().fetchone()
    closed = connection.cursor()
    closed.close()
    with pytest.raises(dbapi.InterfaceError, match="closed"):
        closed.fetchone()
    with (
        dbapi.connect(api_key="phx_wrong", host=data_url, project_id=1) as wrong,
        pytest.raises(dbapi.OperationalError, match="401"),
    ):
        wrong.execute("SELECT 1")
    with pytest.raises(dbapi.InterfaceError, match="closed"):
        wrong.cursor()
    with pytest.raises(dbapi.OperationalError, match="host"):
        dbapi.connect(api_key="phx_x", host="not a host")


def test_large_statements_are_read_by_key(
    connection: dbapi.Connection, monkeypatch: pytest.MonkeyPatch, stored: list[str]
) -> None:
    for module in ("cursor", "statements"):
        monkeypatch.setattr(f"asyncposthog.dbapi.{module}.MAX_LIMIT", 200)
    cursor = connection.execute("SELECT uuid, timestamp FROM events WHERE event != ?", ("x",))
    assert cursor.rowcount == -1
    some = cursor.fetchmany(150)
    assert len(some) == 150
    assert sorted(row[0] for row in [*some, *cursor]) == sorted(stored)
    assert len(connection.execute("SELECT uuid FROM events").fetchall()) == ROWS
    with pytest.raises(dbapi.OperationalError, match="ORDER BY"):
        connection.execute("SELECT uuid FROM events ORDER BY uuid")
    with pytest.raises(dbapi.OperationalError, match=r"cursor\.key"):
        connection.execute("SELECT event FROM events")
    cursor = connection.cursor()
    cursor.key = "u"
    assert len(cursor.execute("SELECT toString(uuid) AS u FROM events").fetchall()) == ROWS
    half = connection.execute("SELECT uuid, timestamp FROM events")
    half.cancel()
    with pytest.raises(dbapi.InterfaceError, match="cancelled"):
        half.fetchall()


def test_threads_share_a_connection(connection: dbapi.Connection) -> None:
    results: list[Any] = []

    def work(number: int) -> None:
        results.append(connection.execute("SELECT ?", (number,)).fetchone())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(0,), (1,), (2,), (3,)]


def test_dropped_connection_ends_its_thread(data_emulator: Emulator, data_url: str) -> None:
    before = threading.active_count()
    connection = dbapi.connect(api_key=data_emulator.key, host=data_url, project_id=1)
    assert threading.active_count() == before + 1
    del connection
    gc.collect()
    assert threading.active_count() == before


def test_pandas_and_polars_read(connection: dbapi.Connection) -> None:
    import pandas as pd
    import polars as pl

    sql = "SELECT event, timestamp FROM events"
    assert pl.read_database(sql, connection).shape == (ROWS, 2)
    with pytest.warns(UserWarning, match="SQLAlchemy"):  # pandas prefers the dialect
        frame: Any = pd.read_sql(f"{sql} WHERE event = ?", connection, params=("$pageview",))
    assert set(frame["event"]) == {"$pageview"}


def test_cancel_ends_a_running_statement_here_and_on_the_server(
    data_emulator: Emulator, data_url: str
) -> None:
    errors: list[BaseException] = []
    sent = threading.Event()

    async def note(request: Any, call_next: Any) -> Any:
        if request.method == "POST":
            sent.set()
        else:
            cancelled.append(request.url.path)
        return await call_next(request)

    def work() -> None:
        try:
            cursor.execute("SELECT 1")
        except dbapi.Error as error:
            errors.append(error)

    cancelled: list[str] = []
    client = AsyncPostHog(data_emulator.key, host=data_url, project_id=1, middleware=[note])
    data_emulator.faults.latency(60, method="POST")
    with dbapi.connect(client) as connection:
        cursor = connection.cursor()
        thread = threading.Thread(target=work)
        thread.start()
        assert sent.wait(30)
        cursor.cancel()
        thread.join()
        assert [str(error) for error in errors] == ["the statement was cancelled"]
        assert len(cancelled) == 1
        data_emulator.faults.clear()
        assert cursor.execute("SELECT 2").fetchone() == (2,)


def test_interrupted_wait_cancels_what_it_waits_for() -> None:
    ended: list[bool] = []

    async def forever() -> None:
        # Ctrl-C, which Python raises in the main thread.
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    loop = BackgroundLoop()
    with pytest.raises(KeyboardInterrupt):
        loop.run(forever)
    assert ended == [True]
    loop.close()
