"""Mutations of successful JSON responses: fields, links, pages, and JSON syntax."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit, urlunsplit

from posthog_emulator.http.messages import Request, Response
from posthog_emulator.json_types import is_array, is_object
from posthog_emulator.schema.catalogue import Catalogue, Schema

from .matcher import RequestMatcher

__all__ = [
    "FIELD_MUTATIONS",
    "LINK_MUTATIONS",
    "NEW_FIELD",
    "NEW_VALUE",
    "PAGE_MUTATIONS",
    "CorruptJson",
    "FieldMutation",
    "LinkMutation",
    "MutateFields",
    "MutateLinks",
    "MutatePages",
    "PageMutation",
    "ResponseMutation",
    "mutate_object",
    "validate_kinds",
]

FieldMutation: TypeAlias = Literal["missing", "extra", "null", "mistyped", "enum"]
LinkMutation: TypeAlias = Literal["http", "foreign", "previous", "loop"]
PageMutation: TypeAlias = Literal["duplicate", "overlap", "shuffle", "reorder"]
FIELD_MUTATIONS: Final[tuple[FieldMutation, ...]] = get_args(FieldMutation)
LINK_MUTATIONS: Final[tuple[LinkMutation, ...]] = get_args(LinkMutation)
PAGE_MUTATIONS: Final[tuple[PageMutation, ...]] = get_args(PageMutation)
NEW_FIELD: Final = "emulator_new_field"
"""The name of the field that the mutation `extra` adds."""
NEW_VALUE: Final = "emulator_new_value"
"""The value that the mutation `enum` sets."""
_IDENTITY: Final = frozenset({"id", "uuid", "short_id", "key", "distinct_ids"})
"""Fields that are mutated only on request: without them an object cannot be identified."""
_FOREIGN_HOST: Final = "https://posthog.invalid"


def validate_kinds(kinds: Iterable[Any], all_kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the kinds as a tuple.

    Raises:
        ValueError: A kind does not exist, or there are none.
    """
    # A string would be iterated by characters.
    names: tuple[Any, ...] = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    unknown = [kind for kind in names if kind not in all_kinds]
    if unknown or not names:
        raise ValueError(f"kinds are some of {all_kinds}, not {unknown or 'none'}")
    return names


@dataclass(slots=True)
class ResponseMutation:
    """The base class of mutations, which changes nothing itself."""

    matcher: RequestMatcher

    def apply(self, response: Response, request: Request, catalogue: Catalogue | None) -> None:
        """Mutate a response in place, if it is successful and JSON."""
        if not 200 <= response.status < 300 or response.media != "application/json":
            return
        try:
            value = json.loads(response.content)
        except ValueError:
            # Another mutation has corrupted it already.
            return
        mutated = self.mutate_value(value, response, request, catalogue)
        content = json.dumps(mutated, ensure_ascii=False, separators=(",", ":")).encode()
        response.content = self.mutate_bytes(content)

    def mutate_value(
        self, value: Any, response: Response, request: Request, catalogue: Catalogue | None
    ) -> Any:
        """Return the mutated JSON value."""
        del response, request, catalogue
        return value

    def mutate_bytes(self, content: bytes) -> bytes:
        """Return the mutated body."""
        return content


@dataclass(slots=True)
class CorruptJson(ResponseMutation):
    """Makes the body invalid JSON, although it arrives completely."""

    def mutate_bytes(self, content: bytes) -> bytes:
        """Return the body with one of five syntax errors."""
        errors: tuple[Callable[[bytes], bytes], ...] = (
            lambda text: text[:-1] + b"," + text[-1:],
            lambda text: text.replace(b'"', b"'") if b'"' in text else b"'" + text + b"'",
            lambda text: text + text,
            lambda text: b"Warning: deprecated option\n" + text,
            lambda text: text[:1] + b"\xff\xfe" + text[1:],
        )
        return self.matcher.rng.choice(errors)(content)


@dataclass(slots=True)
class MutateFields(ResponseMutation):
    """Changes fields of objects, as a server of another version would.

    Raises:
        ValueError: A kind does not exist, or there are none.
    """

    kinds: tuple[FieldMutation, ...] = FIELD_MUTATIONS
    fields: frozenset[str] | None = None

    def __post_init__(self) -> None:
        """Validate the kinds."""
        self.kinds = validate_kinds(self.kinds, FIELD_MUTATIONS)

    def mutate_value(
        self, value: Any, response: Response, request: Request, catalogue: Catalogue | None
    ) -> Any:
        """Change each object of a response, but not the envelope of a list."""
        operation = response.operation
        schema = None
        if operation is not None and catalogue is not None:
            schema = catalogue.item_schema(operation)
        for item in _objects_in(value, _items_field(response)):
            mutate_object(item, self.kinds, self.matcher.rng, self.fields, schema, catalogue)
        return value


def mutate_object(
    item: dict[str, Any],
    kinds: tuple[FieldMutation, ...],
    rng: Random,
    fields: frozenset[str] | None = None,
    schema: Schema | None = None,
    catalogue: Catalogue | None = None,
) -> None:
    """Change one field of an object by each of the kinds, in place.

    Args:
        item: The object.
        kinds: The kinds, applied in the order of `FIELD_MUTATIONS`. `enum` changes only fields
            whose schema has an enum.
        rng: Selects the fields.
        fields: The only fields to change; by default all but those that identify the object.
        schema: The object's schema, for its enums.
        catalogue: Resolves the schema's references.
    """
    for kind in (kind for kind in FIELD_MUTATIONS if kind in kinds):
        if kind == "extra":
            item[NEW_FIELD] = {"since": "a newer server"}
        elif kind == "enum":
            _set_unknown_enum_value(item, rng, fields, schema, catalogue)
        else:
            # Sorted, so that the choice depends on the seed only, not on the order of the fields.
            names = sorted(
                name
                for name, value in item.items()
                if (name not in _IDENTITY if fields is None else name in fields)
                and name != NEW_FIELD
                and value is not None
            )
            if not names:
                continue
            name = rng.choice(names)
            if kind == "missing":
                del item[name]
            else:
                item[name] = None if kind == "null" else _mistyped(item[name])


def _mistyped(value: Any) -> Any:
    """Return a value of another JSON type, which a lenient parser cannot convert back."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"about {value}"
    if isinstance(value, str):
        return {"text": value}
    return "[]" if is_array(value) else []


def _set_unknown_enum_value(
    item: dict[str, Any],
    rng: Random,
    fields: frozenset[str] | None,
    schema: Schema | None,
    catalogue: Catalogue | None,
) -> None:
    if schema is None or catalogue is None:
        return
    enum_fields = [
        (owner, name)
        for owner, name in _enum_fields(item, schema, catalogue, 4)
        if fields is None or name in fields
    ]
    if enum_fields:
        owner, name = rng.choice(enum_fields)
        owner[name] = NEW_VALUE


def _enum_fields(
    item: dict[str, Any], schema: Schema, catalogue: Catalogue, depth: int
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the objects and field names with a value of an enum, nested objects included."""
    for name, sub in catalogue.properties(schema).items():
        value = item.get(name)
        if isinstance(value, str) and _is_enum(sub, catalogue):
            yield item, name
        elif is_object(value) and depth:
            yield from _enum_fields(value, sub, catalogue, depth - 1)


def _is_enum(schema: Schema, catalogue: Catalogue) -> bool:
    flat = catalogue.resolve(schema)
    branches = flat.get("anyOf") or flat.get("oneOf") or ()
    return "enum" in flat or any("enum" in catalogue.resolve(branch) for branch in branches)


@dataclass(slots=True)
class MutateLinks(ResponseMutation):
    """Changes the links between pages."""

    kinds: tuple[LinkMutation, ...] = LINK_MUTATIONS
    host: str = _FOREIGN_HOST

    def mutate_value(
        self, value: Any, response: Response, request: Request, catalogue: Catalogue | None
    ) -> Any:
        """Change `next` and `previous`."""
        if not is_object(value):
            return value
        # First the links to the page itself, so that `foreign` and `http` change them as well.
        own_link = request.link(None, {})
        if "previous" in self.kinds and "previous" in value:
            value["previous"] = own_link
        if "loop" in self.kinds and value.get("next"):
            value["next"] = own_link
        for name in ("next", "previous"):
            link = value.get(name)
            if isinstance(link, str):
                value[name] = self._mutate_url(link)
        return value

    def _mutate_url(self, link: str) -> str:
        parts = urlsplit(link)
        if "foreign" in self.kinds:
            foreign = urlsplit(self.host)
            parts = parts._replace(scheme=foreign.scheme, netloc=foreign.netloc)
        if "http" in self.kinds:
            parts = parts._replace(scheme="http")
        return urlunsplit(parts)


@dataclass(slots=True)
class MutatePages(ResponseMutation):
    """Repeats or reorders rows of pages.

    The kind `reorder` is not applied here but before paging, by `Request.shuffle`: it changes
    which rows are on a page.
    """

    kinds: tuple[PageMutation, ...] = PAGE_MUTATIONS
    _previous_rows: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    """The unchanged rows of the last page, by path."""

    def mutate_value(
        self, value: Any, response: Response, request: Request, catalogue: Catalogue | None
    ) -> Any:
        """Change the rows of a page, with those of the page before it."""
        name = _items_field(response)
        rows = value if name is None else value.get(name) if is_object(value) else None
        if not is_array(rows) or not rows:
            return value
        previous = self._previous_rows.get(request.path, []) if _is_later_page(request) else []
        self._previous_rows[request.path] = list(rows)
        # In place, because `rows` is part of the envelope `value`.
        if previous and "duplicate" in self.kinds:
            rows[:] = previous
        if previous and "overlap" in self.kinds:
            rows[:] = [previous[-1], *rows]
        if "shuffle" in self.kinds:
            self.matcher.rng.shuffle(rows)
        return value


def _items_field(response: Response) -> str | None:
    pagination = response.operation.pagination if response.operation is not None else None
    return None if pagination is None else pagination.items


def _is_later_page(request: Request) -> bool:
    """Return whether a request is for another page than the first."""
    return any(
        value not in {"", "0"} and (name, value) != ("page", "1")
        for name, value in request.query
        if name in {"offset", "page", "cursor", "after", "before"}
    )


def _objects_in(value: Any, items: str | None) -> list[dict[str, Any]]:
    """Return the objects of a response, those of the rows in the envelope of a list."""
    if is_object(value) and items is not None and is_array(value.get(items)):
        value = value[items]
    if is_array(value):
        return [item for item in value if is_object(item)]
    return [value] if is_object(value) else []
