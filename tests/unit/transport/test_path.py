"""Paths: what may stand in them, and that it arrives as it was given."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asyncposthog.operation import Operation, Parameter
from asyncposthog.transport.encoding.path import build_path, path_template

UUID = uuid.UUID("01902f5c-0000-7000-8000-00000000abcd")


def operation(*, writes: bool = False, **parameter: Any) -> Operation:
    return Operation(
        id="things.get",
        method="POST" if writes else "GET",
        path="/api/projects/{project_id}/things/{thing_id}/",
        parameters=(
            Parameter(name="thing_id", python_name="thing_id", location="path", **parameter),
        ),
        writes=writes,
    )


def path(value: object, owner: str = "1", **parameter: Any) -> str:
    return build_path(operation(**parameter), owner, (value,))


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        (7, "7"),
        (-7, "-7"),
        (UUID, str(UUID)),
        ("7", "7"),
        ("a-b_c", "a-b_c"),
        ("a.b", "a.b"),
        ("...", "..."),
        ("100%", "100%25"),
        ("%2e%2e", "%252e%252e"),
        ("%2F", "%252F"),
        ("a b", "a%20b"),
        ("a+b&c=d", "a%2Bb%26c%3Dd"),
        ("me@example.org", "me%40example.org"),
        ("é", "%C3%A9"),
        ("a;b,c:d", "a%3Bb%2Cc%3Ad"),
    ],
)
def test_values_become_one_segment(value: object, segment: str) -> None:
    assert path(value) == f"/api/projects/1/things/{segment}/"


@pytest.mark.parametrize("value", [None, True, 1.5, b"7", [7], {}, object()])
def test_wrong_types(value: object) -> None:
    with pytest.raises(TypeError, match=r"things\.get: thing_id must be an int, a str or a UUID"):
        path(value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "empty"),
        (".", "another resource"),
        ("..", "another resource"),
        ("a/b", "contains '/'"),
        ("../../users", "contains '/'"),
        ("a\\b", r"contains '\\'"),
        ("a?b", "contains '?'"),
        ("a#b", "contains '#'"),
        ("a\x00b", r"contains '\x00'"),
        ("a\nb", r"contains '\n'"),
        ("a\x7fb", r"contains '\x7f'"),
        ("a\x85b", r"contains '\x85'"),
        ("\ud800", "surrogate"),
    ],
)
def test_refused_values(value: str, says: str) -> None:
    with pytest.raises(ValueError) as caught:
        path(value)
    assert says in str(caught.value)
    assert str(caught.value).startswith("things.get: thing_id=")
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "empty"),
        ("a//b", "empty segment"),
        ("/a", "empty segment"),
        ("a/", "empty segment"),
        ("a/../b", "another resource"),
        ("./a", "another resource"),
        ("a/b?c", "contains '?'"),
    ],
)
def test_refused_paths_of_several_segments(value: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("?", r"\?")):
        path(value, multi_segment=True)


def test_several_segments() -> None:
    assert path("a b/c%d/e", multi_segment=True) == "/api/projects/1/things/a%20b/c%25d/e/"


def test_declared_integers() -> None:
    assert path("12", type="integer").endswith("/12/")
    for value in ("abc", "1.5", "1e3", "\N{ARABIC-INDIC DIGIT ONE}"):
        with pytest.raises(ValueError, match="whole number"):
            path(value, type="integer")
    with pytest.raises(TypeError, match="must be an int"):
        path(UUID, type="integer")


def test_declared_uuids() -> None:
    assert path(str(UUID).upper(), format="uuid").endswith(f"/{str(UUID).upper()}/")
    assert path(UUID.hex, format="uuid").endswith(f"/{UUID.hex}/")
    with pytest.raises(ValueError, match="must be a UUID"):
        path("01902f5c", format="uuid")
    with pytest.raises(TypeError, match="must be a UUID, not int"):
        path(7, format="uuid")


def test_aliases() -> None:
    assert path("@me", format="uuid").endswith("/%40me/")
    assert path("@current", type="integer").endswith("/%40current/")
    assert path("@me", format="uuid", writes=True).endswith("/%40me/")
    with pytest.raises(ValueError, match="permitted for a write"):
        path("@current", type="integer", writes=True)


@pytest.mark.parametrize("values", [(), (1, 2)])
def test_number_of_values(values: tuple[int, ...]) -> None:
    with pytest.raises(TypeError, match=f"takes 1 path parameters, got {len(values)}"):
        build_path(operation(), "1", values)


def test_roots() -> None:
    assert path_template(operation()).has_owner
    instance = Operation(id="users.list", method="GET", path="/api/users/", owner=None)
    assert not path_template(instance).has_owner
    assert build_path(instance, None, ()) == "/api/users/"
    unplaced = Operation(id="status.get", method="GET", path="/_health/")
    assert not path_template(unplaced).has_owner


def test_a_template_that_does_not_fit() -> None:
    wrong = Operation(id="wrong.get", method="GET", path="/api/{a}/{b}/{c}/", owner=None)
    with pytest.raises(ValueError, match="3 placeholders"):
        build_path(wrong, None, ())


@given(st.text(min_size=1, max_size=40))
def test_whatever_passes_arrives_unchanged(value: str) -> None:
    try:
        built = path(value)
    except ValueError:
        assume(False)
        raise
    # httpx must neither re-encode nor resolve what we made.
    sent = httpx.URL("https://ph.example.org" + built).raw_path.decode()
    assert sent == built
    segments = sent.split("/")
    assert segments[:5] == ["", "api", "projects", "1", "things"]
    assert segments[6:] == [""]
    assert unquote(segments[5]) == value


@given(st.text(max_size=20), st.text(alphabet="/\\?#.\x00\n", min_size=1, max_size=3), st.text())
def test_nothing_escapes_its_segment(before: str, middle: str, after: str) -> None:
    try:
        built = path(before + middle + after)
    except ValueError:
        return
    sent = httpx.URL("https://ph.example.org" + built)
    assert sent.host == "ph.example.org"
    assert not sent.query
    assert sent.raw_path.count(b"/") == 6
