"""The base class of response models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from asyncposthog.modeling.lenient_schema import make_lenient
from asyncposthog.modeling.pydantic_fields import ensure_fields_built, json_name

__all__ = ["Model", "python_names"]


class Model(BaseModel):
    """Base class of response models. Annotations follow the schema; parsing is lenient.

    - A missing field is None, and not in `model_fields_set`.
    - Every field accepts null, whatever its annotation.
    - Unknown fields are kept: `flag.new_field`, `flag["new field"]`.
    - An unknown variant of a union is kept as a dict.

    `raw()` returns everything as JSON data.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow",
        populate_by_name=True,
        protected_namespaces=(),
        # A program needs few of the many models: each is built on first use.
        defer_build=True,
        ser_json_inf_nan="constants",
    )

    def __init__(self, /, **data: Any) -> None:
        """Create a model from fields by their Python names or their names in the API.

        Fields with one possible value, such as the `kind` of a query, are set and sent.
        """
        super().__init__(**data)
        self.__pydantic_fields_set__.update(_constants(type(self)))

    # With this mark pydantic-core does not call `__init__` for JSON data, which would be slow.
    __init__.__pydantic_base_init__ = True  # pyright: ignore[reportFunctionMemberAccess]

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        """Make the fields lenient when the class is built."""
        built = cls.__dict__.get("__pydantic_core_schema__")
        if isinstance(built, dict):  # of a complete class; before that it is a placeholder object
            return built  # pyright: ignore[reportReturnType, reportUnknownVariableType]
        schema = handler(source)
        make_lenient(cls, schema, handler)
        return schema

    def raw(self) -> dict[str, Any]:
        """Return the fields that the server sent as JSON data, unknown ones included.

        Names are those of the API. Parsed values have their standard form: timestamps are ISO 8601
        with `Z` for UTC, UUIDs are in lower case.
        """
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field by its API or Python name; `default` if the server did not send it."""
        field_name = python_names(type(self)).get(name)
        if field_name is not None and field_name in self.__pydantic_fields_set__:
            return self.__dict__[field_name]
        extra = self.__pydantic_extra__
        return default if extra is None else extra.get(name, default)

    def __getitem__(self, name: str) -> Any:
        """Return a field by its API or Python name.

        Raises:
            KeyError: The server did not send it.
        """
        value = self.get(name, _MISSING)
        if value is _MISSING:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        """Return whether the server sent a field of that name."""
        return isinstance(name, str) and self.get(name, _MISSING) is not _MISSING


_MISSING: Any = object()

# Caches on the class itself, so that they are freed with it.
_NAMES: Final = "__asyncposthog_names__"
_CONSTANTS: Final = "__asyncposthog_constants__"


def python_names(cls: type[BaseModel]) -> Mapping[str, str]:
    """Return the Python names of all fields by their API and Python names."""
    names: dict[str, str] | None = cls.__dict__.get(_NAMES)
    if names is None:
        ensure_fields_built(cls)
        names = {name: name for name in cls.model_fields}
        names.update({json_name(name, f): name for name, f in cls.model_fields.items()})
        setattr(cls, _NAMES, names)
    return names


def _constants(cls: type[BaseModel]) -> frozenset[str]:
    """Return the names of fields whose default is their only possible value."""
    constants: frozenset[str] | None = cls.__dict__.get(_CONSTANTS)
    if constants is None:
        ensure_fields_built(cls)
        constants = frozenset(
            name
            for name, field in cls.model_fields.items()
            if get_origin(field.annotation) is Literal
            and field.default in get_args(field.annotation)
        )
        setattr(cls, _CONSTANTS, constants)
    return constants
