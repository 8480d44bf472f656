"""Exceptions in the form of error tracking."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.capture.exceptions import describe_exception
from posthog_emulator import Emulator


def caught(function: Any) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def fail() -> None:
    raise LookupError("no such thing")


def described(error: BaseException | None, **options: Any) -> list[dict[str, Any]]:
    return describe_exception(error, **options)["$exception_list"]


def test_an_exception() -> None:
    (found,) = described(caught(fail), project_root=Path(__file__).parent)
    assert (found["type"], found["value"], found["module"]) == (
        "LookupError",
        "no such thing",
        None,
    )
    assert found["mechanism"] == {
        "type": "generic",
        "handled": True,
        "synthetic": False,
        "exception_id": 0,
    }
    outer, inner = found["stacktrace"]["frames"]
    assert found["stacktrace"]["type"] == "raw"
    assert (outer["function"], inner["function"]) == ("caught", "fail")
    assert inner["context_line"] == '    raise LookupError("no such thing")'
    assert inner["pre_context"][-1] == "def fail() -> None:"
    assert inner["post_context"][0] == ""
    assert inner["in_app"] is True
    assert inner["abs_path"] == __file__
    assert inner["platform"] == "python"
    assert "vars" not in inner


def test_causes_contexts_and_groups() -> None:
    def chain() -> None:
        try:
            fail()
        except LookupError as error:
            raise ValueError("outer") from error

    members_to_raise = [caught(fail), OSError(5, "gone")]

    def group() -> None:
        try:
            chain()
        except ValueError:
            raise BaseExceptionGroup("many", members_to_raise) from None

    found = described(caught(chain))
    assert [(item["type"], item["mechanism"].get("source")) for item in found] == [
        ("ValueError", None),
        ("LookupError", "cause"),
    ]
    assert found[1]["mechanism"]["parent_id"] == 0
    first, *members = described(caught(group), handled=False)
    assert first["mechanism"]["is_exception_group"] is True
    assert first["mechanism"]["handled"] is False
    assert [(item["type"], item["mechanism"]["source"]) for item in members] == [
        ("LookupError", "member"),
        ("OSError", "member"),
    ]
    assert members[1]["mechanism"]["meta"] == {"errno": {"number": 5}}
    assert "stacktrace" not in members[1]


def test_an_exception_that_is_being_handled() -> None:
    with pytest.raises(ValueError, match="No exception is being handled"):
        described(None)
    try:
        fail()
    except LookupError:
        assert described(None)[0]["type"] == "LookupError"
    with pytest.raises(TypeError, match="must be an exception"):
        described("text")  # pyright: ignore[reportArgumentType]


def test_an_exception_that_was_not_raised_gets_the_stack_of_the_caller() -> None:
    (found,) = described(ValueError("made"))
    assert found["mechanism"]["synthetic"] is True
    *_, test, helper = found["stacktrace"]["frames"]
    assert helper["function"] == "described"
    assert test["function"].startswith("test_an_exception_that_was_not_raised")


def test_circles_and_depth_are_limited() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert [item["value"] for item in described(first)] == ["first", "second"]
    many = ExceptionGroup("many", [ValueError(str(number)) for number in range(200)])
    assert len(described(many)) == 50

    def recurse(depth: int) -> None:
        if depth:
            recurse(depth - 1)
        fail()

    (found,) = described(caught(lambda: recurse(500)))
    frames = found["stacktrace"]["frames"]
    assert len(frames) == 100
    assert frames[-1]["function"] == "fail"


def test_secrets_and_broken_messages() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert described(Broken())[0]["value"] == "<Broken without a message>"
    assert "phx_secret" not in described(ValueError("key phx_secretsecret"))[0]["value"]


def test_installed_packages_are_not_the_application() -> None:
    from pydantic import TypeAdapter

    (found,) = described(caught(lambda: TypeAdapter(int).validate_python("x")), project_root="/")
    by_module = {frame["module"]: frame["in_app"] for frame in found["stacktrace"]["frames"]}
    assert by_module["pydantic.type_adapter"] is False
    (found,) = described(
        caught(lambda: TypeAdapter(int).validate_python("x")), in_app_include=["pydantic"]
    )
    by_module = {frame["module"]: frame["in_app"] for frame in found["stacktrace"]["frames"]}
    assert by_module["pydantic.type_adapter"] is True


class Text(Exception):
    """An exception whose attributes cannot be set, as of a frozen dataclass."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


@pytest.mark.anyio
async def test_an_exception_is_captured_once_for_a_project() -> None:
    emulator = Emulator()
    async with AsyncPostHog.emulated(emulator) as ph:
        other = ph.with_options(project_api_key="phc_other")
        for error in (caught(fail), Text("frozen")):
            assert await ph.capture.exception(error, "ada")
            assert await ph.capture.exception(error, "ada") is None
            assert await ph.with_options(timeout=9).capture.exception(error) is None
            assert await other.capture.exception(error, "ada")
            try:
                raise error
            except Exception:
                assert await ph.capture.exception() is None
        # An event that could not be queued is no event.
        error = caught(fail)
        with pytest.raises(ValueError, match="timestamp"):
            await ph.capture.exception(error, "ada", timestamp="yesterday")
        assert await ph.capture.exception(error, "ada")
        assert ph.capture.stats.accepted == 3


@pytest.mark.anyio
async def test_a_captured_exception_is_kept_by_nothing() -> None:
    async with AsyncPostHog.emulated() as ph:
        error = Text("of a moment")
        reference = weakref.ref(error)
        assert await ph.capture.exception(error, "ada")
        del error
        gc.collect()
        assert reference() is None
