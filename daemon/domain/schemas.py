"""JSON schemas of our types in the dialect of AsyncAPI: draft-07, everything named, no unknown field."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, TypeAdapter

REFERENCE = "#/components/schemas/"
_DEFS = "#/$defs/"
# Words of JSON Schema 2020-12 that a reader of draft-07 would silently skip.
_TOO_NEW = frozenset({"prefixItems", "unevaluatedProperties", "unevaluatedItems", "dependentRequired", "dependentSchemas",
                      "$dynamicRef", "$anchor", "minContains", "maxContains"})  # fmt: skip

Schema = dict[str, Any]


def collect(types: Mapping[str, Any]) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Return the schema of each type, and the named schemas that they refer to.

    Raises ValueError where a type needs a word that draft-07 does not know: give it another type.
    """
    mode: Literal["validation"] = "validation"
    inputs = [(name, mode, TypeAdapter(kind)) for name, kind in types.items()]
    found, shared = TypeAdapter.json_schemas(inputs, ref_template=_DEFS + "{model}")
    definitions: dict[str, Schema] = shared.get("$defs", {})
    for name, kind in types.items():
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            _add_aliases(kind, definitions[_last(found[name, mode]["$ref"])])
    named = {_short(name): _convert(schema) for name, schema in definitions.items()}
    if len(named) != len(definitions):
        raise ValueError("two types have one short name")
    return {name: _convert(found[name, mode]) for name in types}, dict(sorted(named.items()))


def _add_aliases(model: type[BaseModel], schema: Schema) -> None:
    """Add the other names under which the wire takes a field: pydantic names the first one only."""
    for name, field in model.model_fields.items():
        if not isinstance(field.validation_alias, AliasChoices):
            continue
        for other in field.validation_alias.choices:
            if isinstance(other, str) and other not in schema["properties"]:
                told = {"description": f"Another word for `{name}`."}
                schema["properties"][other] = schema["properties"][name] | told
                schema.setdefault("allOf", []).append({"not": {"required": [name, other]}})


def _convert(node: Any, *, is_table: bool = False) -> Any:
    """Return the schema in draft-07. In a table (of properties) keys are names, not words of JSON Schema."""
    if isinstance(node, list):
        return [_convert(item) for item in node]
    if not isinstance(node, dict):
        return node
    if is_table:
        return {name: _convert(schema) for name, schema in node.items()}
    if too_new := _TOO_NEW & node.keys():
        raise ValueError(f"draft-07 has no {', '.join(sorted(too_new))}")
    found = {
        key: value if key in {"default", "const", "enum", "examples"} else _convert(value, is_table=key == "properties")
        for key, value in node.items()
        if key != "title"
    }  # fmt: skip
    if "properties" in found:
        found.setdefault("additionalProperties", False)
    if "$ref" not in found:
        return found
    reference = {"$ref": REFERENCE + _short(_last(found.pop("$ref")))}
    # What stands beside a reference counts for nothing in draft-07.
    return {"allOf": [reference], **found} if found else reference


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]


def _short(name: str) -> str:
    """Return `AccountLogin` for `daemon__domain__account__Login`, as pydantic calls one of two equal names."""
    parts = name.split("__")
    return name if len(parts) == 1 else parts[-2].title().replace("_", "") + parts[-1]
