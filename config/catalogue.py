"""The settings seen from outside: every key by its dotted name, for the sources, `show` and the example."""

import difflib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from config.settings import Settings

# What people know by another name, and what it is here.
_ELSEWHERE = {
    "session.selectors": "they stand in the file that session.login_markers_file names; `tokd config markers` prints it",
}


@dataclass(frozen=True)
class Key:
    """One setting: its dotted name, the kind of its value and what the model says about it."""

    name: str
    kind: type  # bool, int, float, str, Path or SecretStr; of the items, if it is a list
    is_list: bool
    is_optional: bool
    info: FieldInfo

    @property
    def section(self) -> str:
        """The name of the table the key stands in."""
        return self.name.rpartition(".")[0]

    @property
    def short_name(self) -> str:
        """The name within the table."""
        return self.name.rpartition(".")[2]

    @property
    def is_hidden(self) -> bool:
        """Whether examples and schema leave it out."""
        return isinstance(self.info.json_schema_extra, dict) and "hidden" in self.info.json_schema_extra

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "TOKD_" + self.name.upper().replace(".", "__")


@cache
def keys() -> Mapping[str, Key]:
    """Every key by its dotted name, in the order of the model."""
    return types.MappingProxyType({key.name: key for key in _walk(Settings, "")})


@cache
def sections() -> Mapping[str, str]:
    """Every table's dotted name with its one sentence, in the order of the model."""
    return types.MappingProxyType(dict(_walk_sections(Settings, "")))


def suggest(name: str) -> str:
    """Say which key may be meant by the unknown dotted `name`, or nothing."""
    if name.lower() in _ELSEWHERE:
        return _ELSEWHERE[name.lower()]
    section, _, short = name.rpartition(".")
    siblings = [key.short_name for key in keys().values() if key.section == section and not key.is_hidden]
    siblings += [table.rpartition(".")[2] for table in sections() if table.rpartition(".")[0] == section]
    near = difflib.get_close_matches(short.lower(), siblings, n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    elsewhere = [key for key in keys().values() if key.short_name == short and not key.is_hidden]
    return f"it belongs to [{elsewhere[0].section}]" if elsewhere else ""


def suggest_variable(variable: str) -> str:
    """Say which environment variable may be meant by the unknown `variable`, or nothing."""
    name = variable.lower().removeprefix("tokd_").replace("__", ".")
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    known = ["TOKD_CONFIG", *(key.variable for key in keys().values() if not key.is_hidden)]
    near = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.75)
    return f"did you mean {near[0]}?" if near else ""


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, info in model.model_fields.items():
        if _is_model(info.annotation):
            yield from _walk(info.annotation, f"{prefix}{name}.")
        else:
            kind, is_list, is_optional = _describe(info.annotation)
            yield Key(f"{prefix}{name}", kind, is_list, is_optional, info)


def _walk_sections(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, info in model.model_fields.items():
        if _is_model(info.annotation):
            yield f"{prefix}{name}", info.description or ""
            yield from _walk_sections(info.annotation, f"{prefix}{name}.")


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _describe(annotation: Any) -> tuple[type, bool, bool]:
    """Return the plain type inside Annotated, Optional and tuple; whether it is a list; whether optional."""
    if get_origin(annotation) is Annotated:
        return _describe(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        inner = next(part for part in get_args(annotation) if part is not types.NoneType)
        kind, is_list, _ = _describe(inner)
        return kind, is_list, True
    if get_origin(annotation) is tuple:
        return _describe(get_args(annotation)[0])[0], True, False
    plain = annotation if annotation in {bool, int, float, Path, SecretStr} else str  # Literals are texts
    return plain, False, False
