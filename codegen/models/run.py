"""The one place that calls datamodel-code-generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datamodel_code_generator import InputFileType, OpenAPIScope, PythonVersion, generate
from datamodel_code_generator.enums import DataModelType
from datamodel_code_generator.format import DatetimeClassType, Formatter

from codegen.models.read import Annotations, read_annotations

__all__ = ["annotate"]

PRESET = "standard-py311-20261027"
"""A dated preset never changes, whatever the generator's own defaults become."""


def annotate(document: Mapping[str, Any]) -> Annotations:
    """Have the generator type every property of a document of tokens.

    Returns:
        Annotations by property token, by type token.
    """
    if not document["components"]["schemas"]:
        return {}  # the generator takes it for an error
    source = generate(
        document,
        input_file_type=InputFileType.OpenAPI,
        output_model_type=DataModelType.PydanticV2BaseModel,
        preset=PRESET,
        target_python_version=PythonVersion.PY_311,
        openapi_scopes=[OpenAPIScope.Schemas],
        formatters=[Formatter.BUILTIN],
        base_class="model.Model",
        output_datetime_class=DatetimeClassType.Datetime,
        use_annotated=True,
        disable_timestamp=True,
        strict_refs=True,
    )
    if not isinstance(source, str):
        raise TypeError("datamodel-code-generator returned no single module")
    return read_annotations(source)
