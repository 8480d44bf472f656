"""The embedded ClickHouse: limits, cancellation, errors, threads, files, and what it refuses."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthog_emulator.clickhouse import library
from posthog_emulator.clickhouse.engine import Cancellation, Database, open_database
from posthog_emulator.clickhouse.errors import (
    ClickHouseError,
    EngineUnavailableError,
    MemoryLimitError,
    MissingFunctionError,
    QueryCancelledError,
    QuerySyntaxError,
    QueryTimeoutError,
    ScanLimitError,
    clickhouse_error,
)
from posthog_emulator.clickhouse.inserts import MAX_MICROS, MIN_MICROS, insert
from posthog_emulator.clickhouse.json_rows import query_json
from posthog_emulator.clickhouse.literals import bind, identifier, literal
from posthog_emulator.clickhouse.types import parse_type

NUMBERS = {"n": "(id Int64, text String) ENGINE = MergeTree ORDER BY id"}
ENDLESS = "(SELECT sum(sipHash64(number)) FROM numbers(1000000000000))"


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    database = open_database(NUMBERS)
    yield database
    database.close()


def run_python(code: str, *, status: int = 0) -> str:
    """Run code in another process and return what it prints."""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == status, ended.stderr
    return ended.stdout


def test_databases_do_not_see_each_other(database: Database) -> None:
    other = open_database(NUMBERS)
    other.execute("INSERT INTO n VALUES (1, ?)", ["a ? b"])
    assert other.rows("SELECT * FROM n") == [(1, "a ? b")]
    assert database.rows("SELECT count() FROM n") == [(0,)]
    assert other.select("SELECT text FROM n", "TSV") == b"a ? b\n"
    other.close()
    with pytest.raises(EngineUnavailableError, match="is closed"):
        other.rows("SELECT 1")
    assert database.rows("SELECT 1") == [(1,)]


def test_a_database_that_nobody_has_is_dropped(database: Database) -> None:
    forgotten = open_database(NUMBERS)
    name = forgotten.name
    named = "SELECT count() FROM system.databases WHERE name = ?"
    assert database.rows(named, [name]) == [(1,)]
    del forgotten
    assert database.rows(named, [name]) == [(0,)]


def test_a_closed_database_is_used_again_without_its_rows(database: Database) -> None:
    first = open_database(NUMBERS)
    first.execute("INSERT INTO n VALUES (1, 'a')")
    assert first.select("SELECT count() FROM n", "TSV") == b"1\n"
    name = first.name
    first.close()
    first.close()
    second = open_database(NUMBERS)
    assert second.name == name
    assert second.rows("SELECT count() FROM n") == [(0,)]
    assert second.select("SELECT count() FROM n", "TSV") == b"0\n"
    with pytest.raises(EngineUnavailableError, match="is closed"):
        first.select("SELECT 1", "TSV")
    other = open_database({"m": NUMBERS["n"]})
    assert other.rows("SELECT name FROM system.tables WHERE database = ?", [other.name]) == [("m",)]
    # What somebody else left in it is no part of an empty database.
    second.execute("CREATE TABLE extra (id Int64) ENGINE = Memory")
    for one in (second, other):
        one.close()
    named = "SELECT count() FROM system.databases WHERE name = ?"
    assert database.rows(named, [name]) == [(0,)]


def test_a_database_with_a_running_query_is_not_used_again(database: Database) -> None:
    busy, token = open_database(NUMBERS), Cancellation()

    def work() -> None:
        with pytest.raises(ClickHouseError):
            busy.select(ENDLESS, "TSV", cancellation=token)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        running = "SELECT count() FROM system.processes WHERE query LIKE '%1000000000000%'"
        while database.rows(f"{running} AND query NOT LIKE '%processes%'") == [(0,)]:
            pass
        busy.close()
        fresh = open_database(NUMBERS)
        assert fresh.name != busy.name
        token.cancel()
        done.result(10)
    fresh.close()


@pytest.mark.parametrize(
    ("sql", "kind", "name", "message"),
    [
        ("SELECT 1 +", QuerySyntaxError, "SYNTAX_ERROR", "Syntax error"),
        ("SELECT nonsense(1)", MissingFunctionError, "UNKNOWN_FUNCTION", "nonsense"),
        ("SELECT x FROM n", ClickHouseError, "UNKNOWN_IDENTIFIER", "identifier `x`"),
        ("SELECT 1 FROM gone", ClickHouseError, "UNKNOWN_TABLE", "'gone'"),
        ("SELECT sum('a')", ClickHouseError, "ILLEGAL_TYPE_OF_ARGUMENT", "String"),
        ("SELECT [1, 'a']", ClickHouseError, "NO_COMMON_TYPE", "supertype"),
        ("SELECT intDiv(1, 0)", ClickHouseError, "ILLEGAL_DIVISION", "Division by zero"),
        ("SELECT toInt64('\\x80')", ClickHouseError, "CANNOT_PARSE_TEXT", "Cannot parse"),
        ("SELECT max(id), text FROM n", ClickHouseError, "NOT_AN_AGGREGATE", "`?text"),
    ],
)
def test_errors_have_a_type_a_name_and_a_clean_message(
    database: Database, sql: str, kind: type[ClickHouseError], name: str, message: str
) -> None:
    with pytest.raises(ClickHouseError, match=message) as caught:
        query_json(database, sql)
    error = caught.value
    assert (type(error), error.name) == (kind, name)
    for noise in ("DB::Exception", "In scope", "version", "__table", database.name):
        assert noise not in str(error)


def test_a_missing_function_is_named(database: Database) -> None:
    with pytest.raises(MissingFunctionError) as caught:
        query_json(database, "SELECT nonsense(1)")
    assert caught.value.function == "nonsense"
    assert "install chdb-core" in caught.value.message


def test_a_message_in_an_unknown_form_is_kept() -> None:
    error = clickhouse_error("the disk is full")
    assert (error.code, error.name, error.message) == (0, "UNKNOWN_EXCEPTION", "the disk is full")


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        ({"max_execution_time": 1}, QueryTimeoutError),
        ({"max_rows_to_read": 1000}, ScanLimitError),
        ({"max_memory_usage": 5_000_000}, MemoryLimitError),
    ],
)
def test_limits(database: Database, limits: dict[str, int], kind: type[ClickHouseError]) -> None:
    sql = "(SELECT uniqExact(sipHash64(number)) FROM numbers(1000000000000))"
    with pytest.raises(kind):
        database.select(sql, "TSV", settings=limits)
    assert database.select("SELECT 1", "TSV", settings=limits) == b"1\n"


def test_a_query_is_cancelled_from_another_thread(database: Database) -> None:
    token, failures = Cancellation(), list[BaseException]()

    def work() -> None:
        try:
            database.select(ENDLESS, "TSV", cancellation=token)
        except ClickHouseError as error:
            failures.append(error)

    # Cancelled at any moment: before it begins, while it is set up, or while it runs.
    thread = threading.Thread(target=work)
    thread.start()
    running = "SELECT count() FROM system.processes WHERE query LIKE '%1000000000000%'"
    while database.rows(f"{running} AND query NOT LIKE '%processes%'") == [(0,)]:
        pass
    token.cancel()
    thread.join(10)
    assert [type(failure) for failure in failures] == [QueryCancelledError]
    with pytest.raises(QueryCancelledError):
        database.select("SELECT 1", "TSV", cancellation=token)


def test_cancelling_at_once_is_enough(database: Database) -> None:
    with ThreadPoolExecutor(1) as pool:
        for _ in range(20):
            token = Cancellation()
            future = pool.submit(database.select, ENDLESS, "TSV", cancellation=token)
            token.cancel()
            assert isinstance(future.exception(10), QueryCancelledError)


def test_threads_query_side_by_side(database: Database) -> None:
    store = open_database(NUMBERS)
    store.execute("INSERT INTO n SELECT number, 'x' FROM numbers(10000)")

    def ask(number: int) -> bytes:
        return store.select(f"(SELECT sum(id) + {number} FROM n)", "TSV", settings={})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(100)))
    assert answers == [b"%d\n" % (49_995_000 + number) for number in range(100)]
    store.close()


REFUSED = (
    "file('/etc/hostname', 'LineAsString')",
    "url('http://127.0.0.1:1/', 'LineAsString')",
    "remote('127.0.0.1', 'system.one')",
    "s3('http://bucket.s3.amazonaws.com/a.csv', 'CSV', 'a Int8')",
    "executable('ls', 'TSV', 'a String')",
)


@pytest.mark.parametrize("table", REFUSED)
@pytest.mark.parametrize("form", ["{}", "(SELECT * FROM {} SETTINGS readonly = 0)"])
def test_queries_reach_no_files_and_no_network(database: Database, table: str, form: str) -> None:
    with pytest.raises(ClickHouseError):
        query_json(database, f"SELECT * FROM {form.format(table)}")


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO n VALUES (1, 'a')", "DROP TABLE n", "SET readonly = 0", "SYSTEM SHUTDOWN",
        "CREATE TABLE t (a Int8) ENGINE = Memory", "ALTER TABLE n DELETE WHERE 1",
        "(SELECT 1 SETTINGS readonly = 0)",
    ],
)  # fmt: skip
def test_queries_change_nothing(database: Database, sql: str) -> None:
    with pytest.raises(ClickHouseError, match=r"READONLY"):
        database.select(sql, "TSV")


def test_a_query_does_not_write_to_a_file(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(QuerySyntaxError):
        query_json(database, f"SELECT 1 INTO OUTFILE '{path}'")
    assert not path.exists()


# ClickHouse 26.5 writes 1e300 as 1e30: of exponents with three digits, it loses a last zero.
floats = st.floats(-1e99, 1e99).filter(lambda x: x == 0 or abs(x) > 1e-99) | st.sampled_from(
    [math.inf, -math.inf, math.nan]
)
values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), floats, st.text(),
    st.uuids(), st.dates(date(1900, 1, 1), date(2299, 12, 31)),
    st.datetimes(datetime(1900, 1, 2), datetime(2299, 12, 30), timezones=st.just(UTC)),
    st.lists(st.text()), st.lists(st.integers(-1000, 1000)),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(values)
def test_values_arrive_as_they_are(database: Database, value: Any) -> None:
    ((given_back, text),) = database.rows("SELECT ? AS v, toString(v)", [value])
    match value:
        case bool() | None:
            assert given_back == value
        case float():
            expected = value if math.isfinite(value) else None
            assert (None if given_back is None else float(given_back)) == expected
        case datetime():
            assert text == value.strftime("%Y-%m-%d %H:%M:%S.%f")
        case date() | UUID():
            assert given_back == str(value)
        case _:
            assert given_back == value


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_identifiers_are_one_name(database: Database, name: str) -> None:
    answer = query_json(database, f"SELECT 1 AS {identifier(name)}")
    assert answer.names == (name,)


@given(st.text())
def test_a_lone_surrogate_is_replaced(text: str) -> None:
    assert literal(text + "\ud800").encode().endswith("\ufffd'".encode())


def test_values_and_placeholders_must_agree() -> None:
    assert bind("? = ?", ["?", 1]) == "'?' = 1"
    with pytest.raises(ValueError, match="2 placeholders, but 1 values"):
        bind("? = ?", [1])
    with pytest.raises(TypeError, match="a dict has no"):
        literal({})


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("1", 1), ("1.0", 1.0), ("-2.5", -2.5), ("1e30", 1e30), ("5e17", 5e17),
        ("1 / 0", None), ("NULL", None),
        ("true", True), ("toUInt64(18446744073709551615)", 18446744073709551615),
        ("'a\\n\"\\\\/é'", 'a\n"\\/é'), ("toDecimal64(1.5, 3)", "1.500"),
        ("toDate('2026-01-02')", "2026-01-02"), ("toDateTime('2026-01-02 03:04:05')",
        "2026-01-02T03:04:05Z"), ("toDateTime64('2026-01-02', 6, 'UTC')", "2026-01-02T00:00:00Z"),
        ("toDateTime64('2026-01-02 03:04:05.67', 2, 'UTC')", "2026-01-02T03:04:05.670000Z"),
        ("toDateTime64('2026-07-02 03:04:05.000001', 6, 'Asia/Kolkata')",
        "2026-07-02T03:04:05.000001+05:30"),
        ("toDateTime('2026-01-02 03:04:05', 'America/New_York')", "2026-01-02T03:04:05-05:00"),
        ("toDateTime('2026-01-02 03:04:05', 'Europe/London')", "2026-01-02T03:04:05Z"),
        ("[1.0, NULL, 2.5]", [1.0, None, 2.5]), ("(1, 'a', 2.0)", [1, "a", 2.0]),
        ("map('a', 1.0)", {"a": 1.0}), ("map('a', 'b')", {"a": "b"}), ("[]", []),
        ("CAST((1, 'x'), 'Tuple(a Float64, `b c` String)')", [1.0, "x"]),
        ("[(toDateTime('2026-01-02 03:04:05'), [0.5])]", [["2026-01-02T03:04:05Z", [0.5]]]),
        ("toFixedString('ab', 4)", "ab"), ("toLowCardinality(toNullable('x'))", "x"),
        ("toUUID('00000000-0000-0000-0000-00000000000a')", "00000000-0000-0000-0000-00000000000a"),
        ("CAST('a', 'Enum8(\\'a\\' = 1)')", "a"), ("'\\x80'", "\ufffd"),
    ],
)  # fmt: skip
def test_each_type_as_json(database: Database, sql: str, expected: Any) -> None:
    answer = query_json(database, f"SELECT {sql} AS a, {sql} AS b FROM numbers(2)")
    rows = json.loads(answer.rows)
    assert rows == [[expected, expected]] * 2
    assert type(rows[0][0]) is type(expected)
    assert (answer.count, len(answer.names), len(answer.types)) == (2, 2, 2)


def test_rows_are_cut_from_the_end(database: Database) -> None:
    answer = query_json(database, "SELECT number, '],\n\t\t[' FROM numbers(5)")
    for count in range(7):
        cut = answer.first(count)
        assert [row[0] for row in json.loads(cut.rows)] == list(range(min(count, 5)))
        assert cut.count == min(count, 5)
    assert query_json(database, "SELECT 1 WHERE 0").rows == b"[]"


def test_columns_of_one_name(database: Database) -> None:
    answer = query_json(database, "SELECT count(), count(), max(0.5) FROM numbers(3)")
    assert (answer.names[:2], json.loads(answer.rows)) == (("count()",) * 2, [[3, 3, 0.5]])


def test_types_are_parsed() -> None:
    kind = parse_type("Array(Tuple(a Nullable(DateTime64(6, 'UTC')), `b, (c` Map(String, Int8)))")
    (row,) = kind.items
    assert [item.name for item in row.items] == ["Nullable", "Map"]
    assert row.items[0].items[0].zone == "UTC"
    assert [item.name for item in row.items[1].items] == ["String", "Int8"]


@pytest.mark.parametrize("copies", [1, 2000])
def test_rows_are_inserted_whole(database: Database, copies: int) -> None:
    kinds = {"i": "Int64", "u": "UUID", "s": "String", "t": "DateTime64", "f": "UInt8"}
    table = open_database(
        {
            "rows": "(i Int64, u UUID, s String, t DateTime64(6, 'UTC'), f UInt8, "
            "w String DEFAULT '') ENGINE = MergeTree ORDER BY i"
        }
    )
    key = "00000000-0000-0000-0000-00000000000a"
    texts = ["", "a\n\nb", ";\n", "'\\\t\0", "é\U0001f600", b"[1,\n\n2]".decode()]
    times = [0, -1, 1_780_000_000_000_001, MIN_MICROS, MAX_MICROS, MAX_MICROS * 5, None]
    rows = [
        (number, key, text, at, number % 2)
        for number, (text, at) in enumerate((s, t) for s in texts for t in times)
    ] * copies
    insert(table, "rows", kinds, rows)
    insert(table, "rows", kinds, [])
    found = table.rows("SELECT i, u, s, toUnixTimestamp64Micro(t), f FROM rows ORDER BY i")
    assert found == sorted(
        (number, u, s, min(at or 0, MAX_MICROS), f) for number, u, s, at, f in rows
    )
    table.close()


def test_files_are_kept_and_taken_up_again(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    for number in range(3):
        database = open_database(NUMBERS, folder)
        database.execute("INSERT INTO n VALUES (?, 'x')", [number])
        assert database.rows("SELECT count() FROM n") == [(number + 1,)]
        # Without closing, as when a process is killed, the second time.
        if number != 1:
            database.close()
        del database


def test_a_copy_of_files_is_open_beside_them(tmp_path: Path) -> None:
    first = open_database(NUMBERS, tmp_path / "a")
    first.execute("INSERT INTO n VALUES (1, 'x')")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    second = open_database(NUMBERS, tmp_path / "b")
    second.execute("INSERT INTO n VALUES (2, 'y')")
    assert first.rows("SELECT id FROM n") == [(1,)]
    assert second.rows("SELECT id FROM n ORDER BY id") == [(1,), (2,)]
    first.close()
    second.close()


def test_the_directory_is_removed_at_exit_and_signal_handlers_stay() -> None:
    code = """
import glob, signal, tempfile
before = open("/proc/self/status").read() if glob.glob("/proc/self/status") else ""
from posthog_emulator.clickhouse.engine import open_database
database = open_database({"n": "(id Int64) ENGINE = MergeTree ORDER BY id"})
database.execute("INSERT INTO n VALUES (1)")
after = open("/proc/self/status").read() if before else ""
caught = lambda text: int(text.split("SigCgt:")[1].split()[0], 16) & 0xFFFFFFFF if text else 0
assert caught(before) == caught(after), (caught(before), caught(after))
print(database._server.directory)
"""
    folder = run_python(code).strip()
    assert folder
    assert not os.path.exists(folder)


def test_a_forked_child_gets_an_error_and_ends() -> None:
    code = """
import os, sys
from posthog_emulator.clickhouse.engine import open_database
from posthog_emulator.clickhouse.errors import EngineUnavailableError
database = open_database({})
child = os.fork()
if child == 0:
    for use in (lambda: database.rows("SELECT 1"), lambda: open_database({})):
        try:
            use()
        except EngineUnavailableError as error:
            print(error, flush=True)
    del database
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print(database.rows("SELECT 1"))
"""
    *errors, last = run_python(code).splitlines()
    assert len(errors) == 2
    assert all("was forked" in error and "spawn" in error for error in errors)
    assert last == "[(1,)]"


def test_a_killed_process_leaves_whole_files(tmp_path: Path) -> None:
    code = f"""
import os, signal
from posthog_emulator.clickhouse.engine import open_database
database = open_database({NUMBERS!r}, {str(tmp_path / "tables")!r})
database.execute("INSERT INTO n VALUES (1, 'x')")
os.kill(os.getpid(), signal.SIGKILL)
"""
    run_python(code, status=-signal.SIGKILL)
    database = open_database(NUMBERS, tmp_path / "tables")
    assert database.rows("SELECT * FROM n") == [(1, "x")]
    database.close()


def test_windows_has_no_engine_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.sys, "platform", "win32")
    with pytest.raises(ImportError, match="no build for Windows"):
        library.load_library()


def find_nothing(name: str) -> None:
    """Find no module."""


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "chdb._chdb", raising=False)
    monkeypatch.setattr(library.importlib.util, "find_spec", find_nothing)
    with pytest.raises(ImportError, match=r"pip install 'asyncposthog\[emulator\]'"):
        library.load_library()


def test_another_user_of_chdb_is_named() -> None:
    code = """
import tempfile
from posthog_emulator.clickhouse.library import load_library
other = load_library().connect(tempfile.mkdtemp())
from posthog_emulator.clickhouse.engine import open_database
try:
    open_database({})
except RuntimeError as error:
    print(error)
"""
    assert "something else uses chdb" in run_python(code)
