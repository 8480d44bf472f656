"""Objects as another version of the server might send them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit, urlunsplit

from posthog_emulator.http.messages import Answer, Request
from posthog_emulator.json_types import is_array, is_object
from posthog_emulator.schema.catalogue import Catalogue, Schema

from .matcher import RequestMatcher

__all__ = [
    "DRIFTS",
    "LINKS",
    "NEW_FIELD",
    "NEW_VALUE",
    "PAGES",
    "CorruptJson",
    "Drift",
    "Link",
    "Links",
    "Page",
    "Pages",
    "ResponseMutation",
    "drifted",
    "drifting",
    "known",
]

Drift: TypeAlias = Literal["missing", "extra", "null", "mistyped", "enum"]
DRIFTS: Final[tuple[Drift, ...]] = get_args(Drift)
NEW_FIELD: Final = "emulator_new_field"
NEW_VALUE: Final = "emulator_new_value"
_IDENTITY: Final = frozenset({"id", "uuid", "short_id", "key", "distinct_ids"})
"""Fields that stay as they are unless they are asked for: without them there is no telling what
an object is."""


def drifted(
    thing: dict[str, Any],
    kinds: tuple[Drift, ...],
    chance: Random,
    fields: frozenset[str] | None = None,
    schema: Schema | None = None,
    catalogue: Catalogue | None = None,
) -> None:
    """Change one field of an object in each of the ways.

    Args:
        thing: The object, changed in place.
        kinds: The ways, in this order: an enum is changed only where the schema has one.
        chance: Chooses the fields.
        fields: Those that may be changed; all that are not the object's identity by default.
        schema: The object's schema, for its enums.
        catalogue: Resolves the schema's references.
    """
    for kind in (kind for kind in DRIFTS if kind in kinds):
        if kind == "extra":
            thing[NEW_FIELD] = {"since": "a newer server"}
        elif kind == "enum":
            _new_value(thing, chance, fields, schema, catalogue)
        else:
            names = sorted(
                name
                for name, value in thing.items()
                if (name not in _IDENTITY if fields is None else name in fields)
                and name != NEW_FIELD
                and value is not None
            )
            if not names:
                continue
            name = chance.choice(names)
            if kind == "missing":
                del thing[name]
            else:
                thing[name] = None if kind == "null" else _mistyped(thing[name])


def _mistyped(value: Any) -> Any:
    """A value of another type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"about {value}"
    if isinstance(value, str):
        return {"text": value}
    return "[]" if is_array(value) else []


def _new_value(
    thing: dict[str, Any],
    chance: Random,
    fields: frozenset[str] | None,
    schema: Schema | None,
    catalogue: Catalogue | None,
) -> None:
    if schema is None or catalogue is None:
        return
    places = [
        (holder, name)
        for holder, name in _enums(thing, schema, catalogue, 4)
        if fields is None or name in fields
    ]
    if places:
        holder, name = chance.choice(places)
        holder[name] = NEW_VALUE


def _enums(
    thing: dict[str, Any], schema: Schema, catalogue: Catalogue, depth: int
) -> Iterator[tuple[dict[str, Any], str]]:
    """Where an object holds one of a closed set of texts."""
    for name, sub in catalogue.properties(schema).items():
        value = thing.get(name)
        if isinstance(value, str) and _closed(sub, catalogue):
            yield thing, name
        elif is_object(value) and depth:
            yield from _enums(value, sub, catalogue, depth - 1)


def _closed(schema: Schema, catalogue: Catalogue) -> bool:
    flat = catalogue.resolve(schema)
    branches = flat.get("anyOf") or flat.get("oneOf") or ()
    return "enum" in flat or any("enum" in catalogue.resolve(branch) for branch in branches)


Link: TypeAlias = Literal["http", "foreign", "previous", "loop"]
Page: TypeAlias = Literal["duplicate", "overlap", "shuffle", "reorder"]
LINKS: Final[tuple[Link, ...]] = get_args(Link)
PAGES: Final[tuple[Page, ...]] = get_args(Page)
_FOREIGN: Final = "https://posthog.invalid"


@dataclass(slots=True)
class ResponseMutation:
    """Something done to the JSON of good answers."""

    when: RequestMatcher

    def apply(self, answer: Answer, request: Request, catalogue: Catalogue | None) -> None:
        """Change an answer, if it is a good one of JSON."""
        if not 200 <= answer.status < 300 or answer.media != "application/json":
            return
        try:
            value = json.loads(answer.content)
        except ValueError:
            return
        changed = self.changed(value, answer, request, catalogue)
        content = json.dumps(changed, ensure_ascii=False, separators=(",", ":")).encode()
        answer.content = self.written(content)

    def changed(
        self, value: Any, answer: Answer, request: Request, catalogue: Catalogue | None
    ) -> Any:
        """Change the value."""
        del answer, request, catalogue
        return value

    def written(self, content: bytes) -> bytes:
        """Change how it is written."""
        return content


@dataclass(slots=True)
class CorruptJson(ResponseMutation):
    """The whole body arrives, and is no JSON."""

    def written(self, content: bytes) -> bytes:
        """Write it as some careless program would."""
        ways: tuple[Callable[[bytes], bytes], ...] = (
            lambda text: text[:-1] + b"," + text[-1:],
            lambda text: text.replace(b'"', b"'") if b'"' in text else b"'" + text + b"'",
            lambda text: text + text,
            lambda text: b"Warning: deprecated option\n" + text,
            lambda text: text[:1] + b"\xff\xfe" + text[1:],
        )
        return self.when.chance.choice(ways)(content)


def drifting(
    when: RequestMatcher, kinds: Iterable[str] = DRIFTS, fields: Iterable[str] | None = None
) -> ResponseMutation:
    """Answers of a newer, or older, server than the schema's; see `Trouble.drift`.

    Raises:
        ValueError: There is no such kind.
    """
    return _Drifting(when, known(kinds, DRIFTS), None if fields is None else frozenset(fields))


@dataclass(slots=True)
class _Drifting(ResponseMutation):
    kinds: tuple[Drift, ...]
    fields: frozenset[str] | None

    def changed(
        self, value: Any, answer: Answer, request: Request, catalogue: Catalogue | None
    ) -> Any:
        operation = answer.operation
        schema = None
        if operation is not None and catalogue is not None:
            schema = catalogue.item(operation)
        things = _things(value, _items_field(answer))
        for thing in things:
            drifted(thing, self.kinds, self.when.chance, self.fields, schema, catalogue)
        return value


@dataclass(slots=True)
class Links(ResponseMutation):
    """Links between pages that lead elsewhere."""

    kinds: tuple[Link, ...] = LINKS
    host: str = _FOREIGN

    def changed(
        self, value: Any, answer: Answer, request: Request, catalogue: Catalogue | None
    ) -> Any:
        """Change `next` and `previous`."""
        if not is_object(value):
            return value
        own = request.link(None, {})
        if "previous" in self.kinds and "previous" in value:
            value["previous"] = own
        if "loop" in self.kinds and value.get("next"):
            value["next"] = own
        for name in ("next", "previous"):
            link = value.get(name)
            if isinstance(link, str):
                value[name] = self._elsewhere(link)
        return value

    def _elsewhere(self, link: str) -> str:
        parts = urlsplit(link)
        if "foreign" in self.kinds:
            foreign = urlsplit(self.host)
            parts = parts._replace(scheme=foreign.scheme, netloc=foreign.netloc)
        if "http" in self.kinds:
            parts = parts._replace(scheme="http")
        return urlunsplit(parts)


@dataclass(slots=True)
class Pages(ResponseMutation):
    """Pages that show rows twice, or in another order. (`reorder` is done before the answer.)"""

    kinds: tuple[Page, ...] = PAGES
    _last: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])

    def changed(
        self, value: Any, answer: Answer, request: Request, catalogue: Catalogue | None
    ) -> Any:
        """Change the rows of a page, by what the page before it showed."""
        name = _items_field(answer)
        rows = value if name is None else value.get(name) if is_object(value) else None
        if not is_array(rows) or not rows:
            return value
        before = self._last.get(request.path, []) if _goes_on(request) else []
        self._last[request.path] = list(rows)
        if before and "duplicate" in self.kinds:
            rows[:] = before
        if before and "overlap" in self.kinds:
            rows[:] = [before[-1], *rows]
        if "shuffle" in self.kinds:
            self.when.chance.shuffle(rows)
        return value


def known(kinds: Iterable[Any], all_kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    """Check names against those there are.

    Raises:
        ValueError: There is no such kind, or there are none at all.
    """
    given: tuple[Any, ...] = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    unknown = [kind for kind in given if kind not in all_kinds]
    if unknown or not given:
        raise ValueError(f"kinds are some of {all_kinds}, not {unknown or 'none'}")
    return given


def _items_field(answer: Answer) -> str | None:
    pagination = answer.operation.pagination if answer.operation is not None else None
    return None if pagination is None else pagination.items


def _goes_on(request: Request) -> bool:
    """Whether a page is asked for that is not the first."""
    return any(
        value not in {"", "0"} and (name, value) != ("page", "1")
        for name, value in request.query
        if name in {"offset", "page", "cursor", "after", "before"}
    )


def _things(value: Any, items: str | None) -> list[dict[str, Any]]:
    """The objects an answer is about, without the envelope they came in."""
    if is_object(value) and items is not None and is_array(value.get(items)):
        value = value[items]
    if is_array(value):
        return [thing for thing in value if is_object(thing)]
    return [value] if is_object(value) else []
