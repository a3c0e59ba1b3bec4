"""The description that is served: every endpoint with every status it may answer with."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter

from adapters.http.bodies import BODIES
from adapters.http.errors import SESSION_PATHS
from daemon.domain.command import PostArg, ProfileArg, SessionArg, TaskArg

REFERENCE = "#/components/schemas/"
OPEN = "open"  # the tag of endpoints that need no token
_COMMON = (400, 403, 404, 408, 421, 422, 431, 500, 503)
_WITH_BODY = (409, 413, 415)
_DESCRIPTION = (
    "tokd schedules posts on TikTok and opens browser sessions. Every command is the same as over MQTT and on the "
    "command line. A request with the same Idempotency-Key and body is carried out once, however often it is sent."
)
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Your own name for this order; sent twice, it is done once.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"},
}
# The parts of a path, by their names.
_PARTS: dict[str, Any] = {
    name: TypeAdapter(shape).json_schema()
    for name, shape in (("post", PostArg), ("task", TaskArg), ("session", SessionArg), ("name", ProfileArg))
}
_STRING: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _STRING}
_ANY: dict[str, Any] = {"type": "object"}
_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "additionalProperties": False,
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "additionalProperties": False,
                "required": ["code", "message", "retryable"],
                "properties": {
                    "code": _STRING,
                    "message": _STRING,
                    "field": _STRING,
                    "retryable": {"type": "boolean"},
                    "retry_after_s": {"type": "integer"},
                    "problems": {"type": "array", "items": _ANY},
                    "received": {"type": "integer"},
                },
            }
        },
    },
    "AuthAnswer": {
        "type": "object",
        "required": ["auth_url", "state", "account", "expires_at", "redirect_uri", "flow"],
        "properties": {
            "auth_url": _STRING,
            "state": _STRING,
            "account": _STRING,
            "expires_at": _STRING,
            "redirect_uri": _STRING,
            "flow": {"enum": ["web", "desktop"]},
            "scopes": {"type": "array", "items": _STRING},
        },
    },
    "SessionAnswer": {
        "type": "object",
        "additionalProperties": False,
        "required": ["status", "message"],
        "properties": {
            "status": {"enum": ["success", "error"]},
            "message": _STRING,
            "session_id": _STRING,
            "session": _ANY,
            "sessions": {"type": "array", "items": _ANY},
            "ends_at": _STRING,
            "error_details": {
                "type": "object",
                "additionalProperties": False,
                "required": ["code"],
                "properties": {
                    "code": _STRING, "details": _STRING, "field": _STRING, "reason": _STRING, "evidence": _TEXTS,
                    "method": {"type": ["string", "null"]}, "timeout": {"type": ["number", "null"]},
                    "retry_after_s": {"type": "integer"},
                },
            },
        },
    },
}  # fmt: skip


def takes(model: type[BaseModel], *, is_required: bool | None = None) -> dict[str, Any]:
    """Return the part of a route's description that says what body it takes; none is like {} where {} will do."""
    schema = {"$ref": f"{REFERENCE}{model.__name__}"}
    if is_required is None:
        is_required = any(found.is_required() for found in model.model_fields.values())
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}


def asks(model: type[BaseModel]) -> dict[str, Any]:
    """Return the part of a route's description that says what query parameters it has."""
    schema = model.model_json_schema()
    found, required = [], schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        plain = next((part for part in field.get("anyOf", ()) if part.get("type") != "null"), field)
        if "$ref" in plain:
            plain = schema["$defs"][plain["$ref"].rpartition("/")[2]]
        kept = {key: plain[key] for key in plain if key not in {"title", "description", "default"}}
        found.append({"name": name, "in": "query", "required": name in required, "schema": kept})
    return {"parameters": found}


def gives(
    status: int, what: str = "Done.", kind: str = "application/json", schema: str = ""
) -> dict[int | str, Any]:
    """Return the part of a route's description that says what it answers when all is well."""
    shape = {"$ref": f"{REFERENCE}{schema}"} if schema else _STRING if kind.startswith("text") else _ANY
    return {status: {"description": what, "content": {kind: {"schema": shape}}}}


def leads(status: int, what: str) -> dict[int | str, Any]:
    """Return the part of a route's description that says that it answers with another address and no body."""
    return {status: {"description": what, "headers": {"Location": {"required": True, "schema": _STRING}}}}


def describe(app: FastAPI, version: str) -> dict[str, Any]:
    """Return the description of all routes."""
    found = get_openapi(
        title="tokd", version=version, description=_DESCRIPTION, routes=app.routes, openapi_version="3.1.0"
    )
    schemas = dict(_SCHEMAS)
    for model in BODIES:
        schema = model.model_json_schema(ref_template=REFERENCE + "{model}", by_alias=False)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    found["components"] = {
        "schemas": schemas,
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
    }
    for path, item in found["paths"].items():
        for operation in item.values():
            _complete(path, operation)
    return found


def _complete(path: str, operation: dict[str, Any]) -> None:
    tags = operation.pop("tags", [])
    codes = [*_COMMON]
    if "requestBody" in operation and OPEN not in tags:
        codes += _WITH_BODY
        operation.setdefault("parameters", []).append(_KEY)
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            parameter["schema"] = _PARTS.get(parameter["name"], parameter["schema"])
    if OPEN not in tags:
        codes.append(401)
        operation["security"] = [{"bearer": []}]
    is_session = path.startswith(SESSION_PATHS)
    for name in tags:
        codes += [int(code) for code in name.split() if code.isdigit()]
    shape = {"$ref": f"{REFERENCE}{'SessionAnswer' if is_session else 'Error'}"}
    responses: dict[str, Any] = {
        code: answer for code, answer in operation["responses"].items() if code != "422"
    }
    for code in sorted(set(codes)):
        if str(code) not in responses:
            responses[str(code)] = _error(code, shape)
    for name, answer in responses.items():
        if "text/html" in answer.get("content", {}) and int(name) >= 400:  # noqa: PLR2004
            # What is refused before any route has the one shape of errors there, too.
            answer["content"] = answer["content"] | {"application/json": {"schema": shape}}
    operation["responses"] = responses


def _error(code: int, shape: Mapping[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": HTTPStatus(code).phrase,
        "content": {"application/json": {"schema": shape}},
    }
    name = {401: "WWW-Authenticate", 503: "Retry-After"}.get(code)
    return answer | ({"headers": {name: {"schema": _STRING}}} if name else {})
