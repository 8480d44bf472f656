"""The base of every model of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from asyncposthog.modeling.lenient_schema import make_lenient
from asyncposthog.modeling.pydantic_fields import ensure_fields_built, json_name

__all__ = ["Model", "python_names"]


class Model(BaseModel):
    """An object of an answer: its annotations say what the schema says, its reading is tolerant.

    - A field the server left out reads as None and is not in `model_fields_set`.
    - Every field takes null, whatever its annotation says.
    - Fields the schema does not know are kept: `flag.new_field`, `flag["new field"]`.
    - A variant of a union that the schema does not know is kept as a dict.

    `raw()` gives all of it back as JSON data.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow",
        populate_by_name=True,
        protected_namespaces=(),
        # Nine hundred models are never all needed: each is built when it is first used.
        defer_build=True,
        ser_json_inf_nan="constants",
    )

    def __init__(self, /, **data: Any) -> None:
        """Check the fields, given by their names in Python or on the wire.

        Fields with one possible value, such as the `kind` of a query, are filled in and sent.
        """
        super().__init__(**data)
        self.__pydantic_fields_set__.update(_constants(type(self)))

    # Not called for what is read from JSON: pydantic-core then makes instances by itself.
    __init__.__pydantic_base_init__ = True  # pyright: ignore[reportFunctionMemberAccess]

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        """Make the fields tolerant, once, when the class is built."""
        built = cls.__dict__.get("__pydantic_core_schema__")
        if isinstance(built, dict):  # of a class that is complete; a placeholder is no dict
            return built  # pyright: ignore[reportReturnType, reportUnknownVariableType]
        schema = handler(source)
        make_lenient(cls, schema, handler)
        return schema

    def raw(self) -> dict[str, Any]:
        """Return what the server sent as JSON data: its names, its fields, unknown ones included.

        Values that were parsed are written in their standard form: a moment in ISO 8601 with `Z`
        for UTC, a UUID in lower case.
        """
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field by its name on the wire or in Python; `default` if it was not sent."""
        known = python_names(type(self)).get(name)
        if known is not None and known in self.__pydantic_fields_set__:
            return self.__dict__[known]
        extra = self.__pydantic_extra__
        return default if extra is None else extra.get(name, default)

    def __getitem__(self, name: str) -> Any:
        """Return a field by its name on the wire or in Python.

        Raises:
            KeyError: The server did not send it.
        """
        value = self.get(name, _MISSING)
        if value is _MISSING:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        """Whether the server sent a field of that name."""
        return isinstance(name, str) and self.get(name, _MISSING) is not _MISSING


_MISSING: Any = object()

# Caches of pure results. A class that goes away takes its entries with it.
_NAMES: Final = "__asyncposthog_names__"
_CONSTANTS: Final = "__asyncposthog_constants__"


def python_names(cls: type[BaseModel]) -> Mapping[str, str]:
    """Return the Python name of every field by its name on the wire, and by itself."""
    names: dict[str, str] | None = cls.__dict__.get(_NAMES)
    if names is None:
        ensure_fields_built(cls)
        names = {name: name for name in cls.model_fields}
        names.update({json_name(name, f): name for name, f in cls.model_fields.items()})
        setattr(cls, _NAMES, names)
    return names


def _constants(cls: type[BaseModel]) -> frozenset[str]:
    """Return the fields whose default is the only value they have."""
    found: frozenset[str] | None = cls.__dict__.get(_CONSTANTS)
    if found is None:
        ensure_fields_built(cls)
        found = frozenset(
            name
            for name, field in cls.model_fields.items()
            if get_origin(field.annotation) is Literal
            and field.default in get_args(field.annotation)
        )
        setattr(cls, _CONSTANTS, found)
    return found
