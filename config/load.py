"""Loading the settings: overrides over environment over file over defaults, and every mistake at once.

The login markers are a file of their own, named by a setting, and are loaded with them.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from config.catalogue import keys
from config.login_markers import LoginMarkers, load_markers
from config.problems import ConfigError, ConfigProblem
from config.secret_files import SecretFileError, read_secret_file
from config.settings import Settings
from config.sources import (
    CONFIG_VARIABLE,
    Layer,
    Origin,
    in_our_words,
    read_environment,
    read_file,
    read_overrides,
)
from config.toml_text import find_line

__all__ = ["ConfigError", "ConfigProblem", "Loaded", "Origin", "load", "load_with_origins"]


@dataclass(frozen=True)
class Loaded:
    """Settings and markers, where each setting comes from by dotted name, and what is legal but worth a warning."""

    settings: Settings
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...]
    path: Path | None
    markers: LoginMarkers


def load(
    path: Path | None,
    overrides: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings, every path absolute, or raise ConfigError with all problems found."""
    return load_with_origins(path, overrides, environ).settings


def load_with_origins(
    path: Path | None,
    overrides: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Load like `load`, and say where every value comes from.

    Without `path` the file is $TOKD_CONFIG, else ./tokd.toml if there is one, else none.
    """
    environ = os.environ if environ is None else environ
    path = path or _find_file(environ)
    file = read_file(path) if path else Layer(folder=Path.cwd())
    layers = [file, read_environment(environ), read_overrides(overrides or {})]
    problems = [problem for layer in layers for problem in layer.problems]
    if path and not file.values and file.problems and not file.lines:
        raise ConfigError(problems)  # the file could not be read: anything more would be a guess

    merged = _Merged(path, file.lines)
    merged.take_defaults()
    for layer in layers:
        merged.take(layer)
    problems += merged.read_secrets(environ.get("CREDENTIALS_DIRECTORY"))
    try:
        markers = load_markers(merged.markers_file)
    except ConfigError as error:
        problems += error.problems
    try:
        settings = Settings(**merged.nested())
    except ValidationError as error:
        problems += merged.problems_of(error)
    if problems:
        raise ConfigError(sorted(dict.fromkeys(problems), key=_reading_order))
    warnings = tuple(_warnings(settings, merged.origins, path))
    return Loaded(settings, merged.origins, warnings, path, markers)


class _Merged:
    """The layers laid over each other; later ones win."""

    def __init__(self, path: Path | None, lines: Mapping[str, int]) -> None:
        self._path = path
        self._lines = lines
        self._values: dict[str, Any] = {}
        self._ranks: dict[str, int] = {}
        self._rank = 0
        self.origins: dict[str, Origin] = {}

    def take_defaults(self) -> None:
        """Start with the defaults, whose relative paths are the working directory's."""
        self.origins = dict.fromkeys(keys(), Origin("default"))
        for key in keys().values():
            if key.kind is Path and key.info.default is not None:
                self._values[key.name] = _absolute(key.info.default, Path.cwd())

    def take(self, layer: Layer) -> None:
        """Lay `layer` over what is there."""
        self._rank += 1
        for name, value in layer.values.items():
            self._values[name] = _absolute(value, layer.folder) if keys()[name].kind is Path else value
            self._ranks[name] = self._rank
        self.origins.update(layer.origins)

    def read_secrets(self, credentials_directory: str | None) -> list[ConfigProblem]:
        """Put the content of every `<secret>_file` in the secret's place, unless a stronger source set it."""
        problems = []
        for name in [key.name for key in keys().values() if key.kind is SecretStr]:
            source = f"{name}_file"
            path, rank = self._values.get(source), self._ranks.get(source, 0)
            if not isinstance(path, Path) or rank < self._ranks.get(name, 0):
                continue
            if rank == self._ranks.get(name, 0):
                short = name.rpartition(".")[2]
                problems.append(
                    ConfigProblem(self._where(source), f"{source}: {short} is set as well", "keep one")
                )
                continue
            try:
                self._values[name] = read_secret_file(path, credentials_directory)
                self.origins[name] = Origin("file", str(path))
            except SecretFileError as error:
                problems.append(ConfigProblem(self._where(source), f"{source}: {error}", error.suggestion))
        return problems

    @property
    def markers_file(self) -> Path | None:
        """The file of the person's login markers, if one is named."""
        path = self._values.get("session.login_markers_file")
        return path if isinstance(path, Path) else None  # anything else the model will refuse

    def nested(self) -> dict[str, Any]:
        """Return the values as the model takes them: one table per section."""
        tree: dict[str, Any] = {}
        for name, value in self._values.items():
            *tables, short = name.split(".")
            table = tree
            for step in tables:
                table = table.setdefault(step, {})
            table[short] = value
        return tree

    def problems_of(self, error: ValidationError) -> list[ConfigProblem]:
        """Say each of pydantic's complaints in our words, without the value."""
        problems = []
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            name = _key_of(detail["loc"])
            item = next((part for part in detail["loc"] if isinstance(part, int)), None)
            place = name if item is None else f"{name}[{item}]"
            problems.append(ConfigProblem(self._where(name), f"{place}: {in_our_words(detail['msg'])}"))
        return problems

    def _where(self, name: str) -> str:
        origin = self.origins.get(name)
        if origin is not None and origin.kind != "default":
            return origin.detail if origin.kind == "file" else str(origin)
        line = find_line(self._lines, name)
        return f"{self._path}:{line}" if line else "settings"


def _find_file(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    usual = Path("tokd.toml")
    return usual if usual.is_file() else None


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, list | tuple):
        return [_absolute(item, folder) for item in value]
    if isinstance(value, Path) or (isinstance(value, str) and value and "\0" not in value):
        # Not resolved: a symbolic link may be moved while the daemon runs, as deployments do.
        return Path(os.path.abspath(folder / os.path.expanduser(value)))  # noqa: PTH100, PTH111
    return value


def _key_of(location: tuple[int | str, ...]) -> str:
    parts = [part for part in location if isinstance(part, str)]
    while parts and ".".join(parts) not in keys() and len(parts) > 1:
        shorter = ".".join(parts[:-1])
        if shorter not in keys():
            break
        parts.pop()
    return ".".join(parts)


def _reading_order(problem: ConfigProblem) -> tuple[str, int]:
    place, _, line = problem.where.rpartition(":")
    return (place, int(line)) if place and line.isdecimal() else ("~" + problem.where, 0)


def _warnings(settings: Settings, origins: Mapping[str, Origin], path: Path | None) -> list[str]:
    found = []
    if settings.mqtt.tls.enabled and not settings.mqtt.tls.verify:
        found.append("mqtt.tls.verify is false: anyone on the way can pose as the broker")
    here = f"{path}:"
    secrets = [key.name for key in keys().values() if key.kind is SecretStr]
    written = [name for name in secrets if path and origins[name].detail.startswith(here)]
    if path and written and stat.S_IMODE(path.stat().st_mode) & 0o077:
        found.append(f"{path}: others may read {', '.join(written)}: chmod 600 it, or use {written[0]}_file")
    return found
