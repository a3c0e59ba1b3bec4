"""Where values come from: the TOML file, the environment, explicit overrides. Each becomes a `Layer`."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from config.catalogue import Key, keys, sections, suggest, suggest_variable
from config.problems import ConfigProblem
from config.toml_text import find_line, line_numbers

VARIABLE_PREFIX = "TOKD_"
CONFIG_VARIABLE = "TOKD_CONFIG"
# Variables of other programs for the same thing; ours are stronger.
FOREIGN_VARIABLES = {"CAMOUFOX_USER_DATA_DIR": "session.user_data_master_dir"}

_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_ERROR_LINE = re.compile(r" \(at line (\d+), column \d+\)\Z| \(at end of document\)\Z")


@dataclass(frozen=True)
class Origin:
    """Where a value comes from; `detail` is the file and line, or the variable."""

    kind: Literal["default", "file", "environment", "override"]
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".rstrip()


@dataclass
class Layer:
    """The values of one source by dotted name, their origins, and what was wrong with it."""

    folder: Path  # what relative paths in it start from
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)


def read_toml(path: Path) -> tuple[str, dict[str, Any]] | ConfigProblem:
    """Read the TOML file at `path`; return its text and its values, or what is wrong with it."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        return ConfigProblem(str(path), "is not UTF-8 text")
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        return ConfigProblem(str(path), f"cannot be read: {reason}")
    text = text.replace("\r\n", "\n")
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _syntax_problem(path, text, str(error))


def read_file(path: Path) -> Layer:
    """Read the settings file at `path`; whatever is wrong with it is in the layer's problems."""
    layer = Layer(folder=path.absolute().parent)
    found = read_toml(path)
    if isinstance(found, ConfigProblem):
        layer.problems.append(found)
        return layer
    text, table = found
    layer.lines = line_numbers(text)
    _take_table(layer, path, table, "")
    return layer


def read_environment(environ: Mapping[str, str]) -> Layer:
    """Read every `TOKD_<SECTION>__<KEY>`; an empty value clears an optional setting.

    Before them, and so weaker, what other programs' variables say; an empty one says nothing.
    """
    layer = Layer(folder=Path.cwd())
    for variable, name in FOREIGN_VARIABLES.items():
        if environ.get(variable):
            layer.values[name] = from_text(keys()[name], environ[variable])
            layer.origins[name] = Origin("environment", variable)
    for variable in sorted(environ):
        if not variable.startswith(VARIABLE_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        key = keys().get(variable.removeprefix(VARIABLE_PREFIX).lower().replace("__", "."))
        if key is None:
            problem = ConfigProblem(
                "environment", f"{variable}: unknown variable", suggest_variable(variable)
            )
            layer.problems.append(problem)
        else:
            layer.values[key.name] = from_text(key, environ[variable])
            layer.origins[key.name] = Origin("environment", variable)
    return layer


def read_overrides(overrides: Mapping[str, str]) -> Layer:
    """Read explicit overrides, by dotted name."""
    layer = Layer(folder=Path.cwd())
    for name, text in overrides.items():
        if name in keys():
            layer.values[name] = from_text(keys()[name], text)
            layer.origins[name] = Origin("override")
        else:
            layer.problems.append(ConfigProblem("override", f"{name}: unknown key", suggest(name)))
    return layer


def in_our_words(message: str) -> str:
    """Return pydantic's complaint as we say it."""
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return f"{message[:1].lower()}{message[1:]}".replace("tuple", "list")


def from_text(key: Key, text: str) -> Any:
    """Turn a text into the type of `key`; what does not fit stays a text, for the model to refuse.

    A list is written as JSON or separated by commas.
    """
    if key.is_optional and not text:
        return None
    if not key.is_list:
        return _scalar(key.kind, text)
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [_scalar(key.kind, part.strip()) for part in text.split(",") if part.strip()]


def _scalar(kind: type, text: str) -> Any:
    try:
        if kind is bool:
            return _WORDS.get(text.lower(), text)
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
    except ValueError:
        return text
    return text


def _take_table(layer: Layer, path: Path, table: Mapping[str, Any], prefix: str) -> None:
    for short, value in table.items():
        name = f"{prefix}{short}"
        line = find_line(layer.lines, name)
        where = f"{path}:{line}" if line else str(path)
        if name in sections():
            if isinstance(value, dict):
                _take_table(layer, path, value, f"{name}.")
            else:
                layer.problems.append(ConfigProblem(where, f"{name}: must be a table", f"write [{name}]"))
        elif name in keys():
            layer.values[name] = value
            layer.origins[name] = Origin("file", where)
        else:
            what = "unknown section" if isinstance(value, dict) else "unknown key"
            layer.problems.append(ConfigProblem(where, f"{name}: {what}", suggest(name)))


def _syntax_problem(path: Path, text: str, message: str) -> ConfigProblem:
    found = _ERROR_LINE.search(message)
    line = int(found.group(1)) if found and found.group(1) else len(text.rstrip("\n").split("\n"))
    reason = _ERROR_LINE.sub("", message)
    return ConfigProblem(f"{path}:{line}", f"is not valid TOML: {reason[:1].lower()}{reason[1:]}")
