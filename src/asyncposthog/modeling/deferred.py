"""Discriminated unions whose variants are imported and built when a value has them.

The query of an insight can be any of 40 queries, with 280 classes. Importing and building all of
them would take longer than importing pydantic, for a response that has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from pydantic import BaseModel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema, to_json

from .deferred_variants import DeferredVariants
from .unions import VariantSelector

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

__all__ = ["STRICT", "DeferredUnion", "deferred_union"]

STRICT: Final = "asyncposthog.strict"
"""Key of the validation context: whether values are parsed strictly.

pydantic does not tell functions whether validation is strict.
"""


def deferred_union(module: str, wire: str, name: str, variants: Mapping[str | int, str]) -> Any:
    """Return the annotation of a discriminated union of models.

    Args:
        module: The module that defines it, below the `models` of its package.
        wire: The name of the discriminator in the API.
        name: Its Python name.
        variants: The class name of the variant for each value of the discriminator.
    """
    package = module.partition(".models.")[0]
    union = DeferredUnion(f"{package}.models", wire, name, variants)
    return Annotated[Any, union]  # pyright: ignore[reportInvalidTypeForm]


class DeferredUnion(DeferredVariants):
    """Metadata of an annotation: parses an object as the variant that it names.

    An object of an unknown variant is returned unchanged. One without a discriminator is parsed as
    the variant whose required fields it has.
    """

    __slots__ = ("_selector",)

    def __init__(
        self, models: str, wire: str, name: str, variants: Mapping[str | int, str]
    ) -> None:
        """Create a union; `models` is the module that has the classes."""
        super().__init__(models, wire, name, variants)
        self._selector: VariantSelector | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return a schema that knows no variant yet."""
        return core_schema.with_info_plain_validator_function(self._parse)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the JSON schema of an object that names one of the variants.

        The variants themselves are not in it: most of the API's 280 query models would be.
        """
        names = sorted(self._variants, key=str)
        return {"type": "object", "properties": {self._names[0]: {"enum": names}}}

    def _parse(self, value: Any, info: core_schema.ValidationInfo) -> Any:
        if not isinstance(value, dict):
            if isinstance(value, BaseModel) and self.includes(type(value)):
                return value
            raise PydanticCustomError(
                "deferred_union", "Input should be an object, or a model of the union"
            )
        data = cast("dict[str, Any]", value)
        name = self._variant_of(data)
        if name is None:
            return data
        context = cast("dict[str, Any] | None", info.context)
        validator = self._load(name).__pydantic_validator__
        if info.mode == "json" and context and context.get(STRICT):
            # Strict parsing of Python data would refuse the text of dates and UUIDs.
            return validator.validate_json(to_json(data), strict=True, context=context)
        return validator.validate_python(data, context=context)

    def _variant_of(self, data: dict[str, Any]) -> str | None:
        """Return the class name of the variant of an object, or None if it is unknown."""
        for name in self._names:
            tag = data.get(name)
            if isinstance(tag, str | int):
                return self._variants.get(tag)
            if name in data:
                return None
        if self._selector is None:
            classes = {name: self._load(name) for name in self.class_names()}
            self._selector = VariantSelector(
                classes, lambda: Any, tag=self._names[0], has_dict_choice=True
            )
        return self._selector(data)
