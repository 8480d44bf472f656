"""A small hand-written API, for tests that do not need the registry."""

from __future__ import annotations

from typing import Any

from asyncposthog.operation import Body, Operation, Pagination, Parameter, Result

P = "/api/projects/{project_id}"


def path(name: str, **more: Any) -> Parameter:
    """Return a path parameter."""
    return Parameter(name=name, python_name=name, location="path", required=True, **more)


def query(name: str, **more: Any) -> Parameter:
    """Return a query parameter."""
    return Parameter(name=name, python_name=name, location="query", **more)


def header(name: str, **more: Any) -> Parameter:
    """Return a header parameter."""
    return Parameter(name=name, python_name=name.lower(), location="header", **more)


WIDGET = Result(kind="model", model="Widget", schema="Widget")
WIDGETS = Result(kind="model", model="PaginatedWidgetList", schema="PaginatedWidgetList")
ID = path("id", type="integer")


def _listing(name: str, pagination: Pagination, *parameters: Parameter) -> Operation:
    return Operation(
        id=f"{name}.list",
        method="GET",
        path=f"{P}/{name}/",
        parameters=parameters,
        result=WIDGETS,
        pagination=pagination,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="widgets.list",
        method="GET",
        path=f"{P}/widgets/",
        parameters=(
            query("limit", type="integer"),
            query("offset", type="integer"),
            query("search"),
            query("kind", enum=("round", "square")),
            query("size", type="integer"),
            query("ratio", type="number"),
            query("active", type="boolean"),
            query("since", format="date-time"),
            query("owner", format="uuid"),
            query("tags", type="array"),
            query("id__in", type="array", explode=False),
            query("ordering"),
            query("created_by"),
            query("force", type="boolean", presence_only=True),
            header("X-Widget-Run", format="uuid"),
        ),
        result=WIDGETS,
        pagination=Pagination(style="offset"),
        scopes=("widget:read",),
    ),
    Operation(
        id="widgets.create",
        method="POST",
        path=f"{P}/widgets/",
        body=Body(schema="Widget", required=True),
        result=Result(kind="model", model="Widget", schema="Widget", status=201),
        scopes=("widget:write",),
    ),
    Operation(
        id="widgets.get",
        method="GET",
        path=f"{P}/widgets/{{id}}/",
        parameters=(ID,),
        result=WIDGET,
        scopes=("widget:read",),
    ),
    Operation(
        id="widgets.update",
        method="PATCH",
        path=f"{P}/widgets/{{id}}/",
        parameters=(ID,),
        body=Body(schema="PatchedWidget"),
        result=WIDGET,
        scopes=("widget:write",),
    ),
    Operation(
        id="widgets.replace",
        method="PUT",
        path=f"{P}/widgets/{{id}}/",
        parameters=(ID,),
        body=Body(schema="Widget", required=True),
        result=WIDGET,
    ),
    Operation(
        id="widgets.delete",
        method="PATCH",
        path=f"{P}/widgets/{{id}}/",
        parameters=(ID,),
        body=Body(schema="PatchedWidget"),
        fixed_body={"deleted": True},
        result=WIDGET,
    ),
    Operation(
        id="widgets.restore",
        method="PATCH",
        path=f"{P}/widgets/{{id}}/",
        parameters=(ID,),
        body=Body(schema="PatchedWidget"),
        fixed_body={"deleted": False},
        result=WIDGET,
    ),
    Operation(
        id="widgets.parts.list",
        method="GET",
        path=f"{P}/widgets/{{widget_id}}/parts/",
        parameters=(path("widget_id", type="integer"),),
        result=Result(kind="model", model="Part", schema="Part", array=True),
        pagination=Pagination(style="single", items=None),
    ),
    Operation(
        id="widgets.parts.create",
        method="POST",
        path=f"{P}/widgets/{{widget_id}}/parts/",
        parameters=(path("widget_id", type="integer"),),
        body=Body(schema="Part"),
        result=Result(kind="model", model="Part", schema="Part", status=201),
    ),
    Operation(
        id="widgets.parts.get",
        method="GET",
        path=f"{P}/widgets/{{widget_id}}/parts/{{id}}/",
        parameters=(path("widget_id", type="integer"), path("id", format="uuid")),
        result=Result(kind="model", model="Part", schema="Part"),
    ),
    Operation(
        id="widgets.parts.delete",
        method="DELETE",
        path=f"{P}/widgets/{{widget_id}}/parts/{{id}}/",
        parameters=(path("widget_id", type="integer"), path("id", format="uuid")),
        result=Result(status=204),
    ),
    Operation(
        id="widgets.stats",
        method="GET",
        path=f"{P}/widgets/stats/",
        result=Result(kind="json"),
    ),
    Operation(
        id="widgets.polish",
        method="POST",
        path=f"{P}/widgets/{{id}}/polish/",
        parameters=(ID,),
        result=Result(kind="model", model="Part", schema="Part"),
    ),
    Operation(
        id="widgets.picture",
        method="POST",
        path=f"{P}/widgets/{{id}}/picture/",
        parameters=(ID,),
        body=Body(media="multipart", schema="Picture", required=True, files=("picture",)),
        result=Result(kind="json", status=202),
    ),
    Operation(
        id="widgets.label",
        method="GET",
        path=f"{P}/widgets/{{id}}/label/",
        parameters=(ID,),
        result=Result(kind="text", media="text/csv"),
    ),
    Operation(
        id="settings.get",
        method="GET",
        path=f"{P}/settings/",
        result=Result(kind="model", model="Settings", schema="Settings"),
    ),
    Operation(
        id="settings.update",
        method="PATCH",
        path=f"{P}/settings/",
        body=Body(schema="Settings"),
        result=Result(kind="model", model="Settings", schema="Settings"),
    ),
    Operation(
        id="files.get",
        method="GET",
        path=f"{P}/files/{{file_path}}/",
        parameters=(path("file_path", multi_segment=True),),
        result=Result(kind="json"),
    ),
    Operation(
        id="files.history",
        method="GET",
        path=f"{P}/files/{{file_path}}/history/",
        parameters=(path("file_path", multi_segment=True),),
        result=Result(kind="json"),
    ),
    Operation(
        id="secrets.list",
        method="GET",
        path=f"{P}/secrets/",
        result=WIDGETS,
        pagination=Pagination(style="offset"),
        api_key_allowed=False,
    ),
    _listing("numbered", Pagination(style="page", page_size=3)),
    _listing("pointed", Pagination(style="cursor", page_size=3), query("ordering")),
    _listing(
        "either",
        Pagination(style="cursor", page_size=3),
        query("page", type="integer"),
        query("page_size", type="integer"),
    ),
    _listing("whole", Pagination(style="single")),
)

_STAMP = {"type": "string", "format": "date-time", "readOnly": True}

WIDGET_PROPERTIES: dict[str, Any] = {
    "id": {"type": "integer", "readOnly": True},
    "name": {"type": "string", "maxLength": 20, "minLength": 1},
    "kind": {"type": "string", "enum": ["round", "square"]},
    "size": {"type": "integer", "minimum": 0, "maximum": 100},
    "active": {"type": "boolean", "default": True},
    "deleted": {"type": "boolean"},
    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    "owner": {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]},
    "contact": {"type": "string", "format": "email"},
    "shape": {"$ref": "#/components/schemas/Shape"},
    "created_at": _STAMP,
    "updated_at": _STAMP,
    "created_by": {"$ref": "#/components/schemas/Maker", "readOnly": True},
    "version": {"type": "integer", "readOnly": True},
    "password": {"type": "string", "writeOnly": True},
}

SCHEMAS: dict[str, Any] = {
    "Widget": {
        "type": "object",
        "properties": WIDGET_PROPERTIES,
        "required": ["created_at", "created_by", "id", "name", "updated_at", "version"],
    },
    "PatchedWidget": {"type": "object", "properties": WIDGET_PROPERTIES},
    "PaginatedWidgetList": {
        "type": "object",
        "properties": {
            "count": {"type": "integer"},
            "next": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "previous": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "results": {"type": "array", "items": {"$ref": "#/components/schemas/Widget"}},
        },
        "required": ["results"],
    },
    "Maker": {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "uuid": {"type": "string", "format": "uuid"},
            "email": {"type": "string", "format": "email"},
        },
        "required": ["email", "id", "uuid"],
    },
    "Shape": {
        "oneOf": [
            {"$ref": "#/components/schemas/Circle"},
            {"$ref": "#/components/schemas/Box"},
        ],
        "discriminator": {
            "propertyName": "type",
            "mapping": {
                "circle": "#/components/schemas/Circle",
                "box": "#/components/schemas/Box",
            },
        },
    },
    "Circle": {
        "type": "object",
        "properties": {
            "type": {"const": "circle", "type": "string"},
            "radius": {"type": "number", "minimum": 0},
        },
        "required": ["radius", "type"],
        "additionalProperties": False,
    },
    "Box": {
        "type": "object",
        "properties": {
            "type": {"const": "box", "type": "string"},
            "sides": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
        },
        "required": ["sides", "type"],
    },
    "Part": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid", "readOnly": True},
            "name": {"type": "string"},
            "widget_id": {"type": "integer", "readOnly": True},
            "screws": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "integer", "readOnly": True},
                        "length": {"type": "number"},
                    },
                    "required": ["id", "length"],
                },
            },
        },
        "required": ["id", "name"],
    },
    "Picture": {
        "type": "object",
        "properties": {
            "picture": {"type": "string", "format": "binary"},
            "title": {"type": "string"},
            "width": {"type": "integer"},
            "frames": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["picture", "title"],
    },
    "Settings": {
        "type": "object",
        "properties": {
            "colour": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "limit": {"type": "integer", "minimum": 1},
            "seen": {"type": "boolean", "readOnly": True},
        },
        "required": ["limit", "seen"],
    },
}
