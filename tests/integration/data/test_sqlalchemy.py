"""The SQLAlchemy dialect over a real socket."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from posthog_emulator import Emulator
from tests.integration.data.conftest import ROWS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def engine(data_emulator: Emulator, data_url: str) -> Iterator[Any]:
    import sqlalchemy as sa
    from sqlalchemy.dialects import registry

    # As in pyproject.toml: the package may have been installed before that had the entry point.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    target = project["entry-points"]["sqlalchemy.dialects"]["posthog"]
    registry.register("posthog", *target.split(":"))
    url = f"posthog://:{data_emulator.key}@{data_url.removeprefix('http://')}/1?scheme=http"
    engine = sa.create_engine(url)
    assert data_emulator.key not in repr(engine)
    yield engine
    engine.dispose()


def test_tables_and_columns_come_from_the_instance(engine: Any) -> None:
    import sqlalchemy as sa
    from sqlalchemy import exc

    inspector = sa.inspect(engine)
    assert {"events", "persons", "sessions", "groups"} <= set(inspector.get_table_names())
    assert inspector.get_view_names() == []
    assert inspector.has_table("events")
    kinds = {column["name"]: column["type"] for column in inspector.get_columns("events")}
    assert isinstance(kinds["timestamp"], sa.DateTime)
    assert isinstance(kinds["event"], sa.String)
    assert "person" not in kinds  # a table that is joined
    with pytest.raises(exc.NoSuchTableError):
        inspector.get_columns("nothing")


def test_core_statements(engine: Any) -> None:
    import sqlalchemy as sa
    from sqlalchemy import exc

    events = sa.Table("events", sa.MetaData(), autoload_with=engine)
    since = datetime(2026, 2, 1, tzinfo=UTC)
    statement = (
        sa.select(events.c.event, sa.func.count().label("n"), sa.func.any(events.c["$session_id"]))
        .where(events.c.timestamp >= since, events.c.event.in_(["$pageview", "it's"]))
        .group_by(events.c.event)
        .limit(5)
    )
    with engine.connect() as connection:
        rows = connection.execute(statement).all()
        assert [row.event for row in rows] == ["$pageview"]
        every = connection.execution_options(yield_per=100).execute(sa.select(events.c.uuid))
        assert sum(1 for _ in every) == ROWS
        with pytest.raises(exc.CompileError, match="OFFSET"):
            connection.execute(statement.offset(1))
        with pytest.raises(exc.NotSupportedError, match="only reads"):
            connection.execute(sa.insert(events).values(event="x"))
        with pytest.raises(exc.ProgrammingError, match="nope"):
            connection.execute(sa.text("SELECT nope FROM events"))


def test_pandas_reads_without_a_warning(engine: Any) -> None:
    import pandas as pd
    import sqlalchemy as sa

    sql = sa.text("SELECT event, timestamp FROM events WHERE event = :event")
    frame: Any = pd.read_sql(sql, engine, params={"event": "$pageview"})
    assert set(frame["event"]) == {"$pageview"}
    assert str(frame["timestamp"].dt.tz) == "UTC"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("posthog://phx_key@us.posthog.com/1", "password"),
        ("posthog://:phx_key@us.posthog.com/1?sslmode=x", "sslmode"),
        ("posthog://:phx_key@us.posthog.com/1?scheme=ftp", "scheme"),
        ("posthog://:phx_key@us.posthog.com/1?timeout=soon", "seconds"),
    ],
)
def test_bad_urls_are_rejected(engine: Any, url: str, message: str) -> None:
    import sqlalchemy as sa
    from sqlalchemy import exc

    with pytest.raises(exc.ArgumentError, match=message):
        sa.create_engine(url).connect()
