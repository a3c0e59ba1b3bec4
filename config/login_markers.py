"""The login markers: where a page is looked at to tell who is logged in. Built in, and a person's file over it."""

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from config.addresses import check_host
from config.problems import ConfigError, ConfigProblem
from config.sections import Section
from config.sources import in_our_words, read_toml
from config.toml_text import find_line, line_numbers, toml_value

_BUILT_IN = Path(__file__).with_name("login_markers.toml")
_TABLES = "page_state"
_TABLE = re.compile(rf"\s*\[\[\s*{_TABLES}\s*\]\]")
_COOKIE = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HINT = "[session] login_markers_file names it; `tokd config markers` prints one to start from"


def _check_text(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be one line of text, not empty and without control characters")
    return text


def _check_path(path: str) -> str:
    if not re.fullmatch(r"/[^\s?#\x00-\x1f\x7f]*", path):
        raise ValueError('must be a path that starts with "/", without space, "?" or "#"')
    return path


def _check_cookie(name: str) -> str:
    if not _COOKIE.fullmatch(name):
        raise ValueError("must be the name of a cookie, without its value")
    return name


def _check_id(text: str) -> str:
    if re.search(r"\s|^#", text):
        raise ValueError('must be the id of a script element, without "#" and space')
    return text


def _check_some(items: tuple[str, ...]) -> tuple[str, ...]:
    # Not min_length: that one also complains where the only item is wrong.
    if not items:
        raise ValueError("must not be empty")
    return items


_Text = Annotated[str, Field(max_length=300), AfterValidator(_check_text)]
_Host = Annotated[str, Field(max_length=253), AfterValidator(check_host), AfterValidator(str.lower)]
_Path = Annotated[str, Field(max_length=300), AfterValidator(_check_path)]
_Cookie = Annotated[str, Field(max_length=100), AfterValidator(_check_cookie)]
_Keys = Annotated[tuple[_Text, ...], Field(max_length=20)]
_Selectors = Annotated[tuple[_Text, ...], Field(max_length=50)]


class PageState(Section):
    """JSON that the server writes into a script element of the page."""

    script: Annotated[_Text, AfterValidator(_check_id)]
    context: _Keys  # the way from the top to what is there for members and guests
    user: _Keys  # the way on to the user
    id_keys: Annotated[_Keys, AfterValidator(_check_some)]  # any of them makes it a user
    name_keys: _Keys = ()


class LoginMarkers(Section):
    """Everything a page is looked at for. What each means stands in `config/login_markers.toml`."""

    hosts: Annotated[tuple[_Host, ...], Field(max_length=50), AfterValidator(_check_some)]
    login_paths: Annotated[tuple[_Path, ...], Field(max_length=50)]
    cookies: Annotated[tuple[_Cookie, ...], Field(max_length=50)]
    info_paths: Annotated[tuple[_Path, ...], Field(max_length=50)]
    info_user_keys: _Keys
    info_name_keys: _Keys
    info_out_names: _Keys
    dom_in: _Selectors
    dom_out: _Selectors
    challenge: _Selectors
    page_state: Annotated[tuple[PageState, ...], Field(max_length=20)]


def built_in_toml() -> str:
    """Return the built-in file as it stands, with its comments."""
    return _BUILT_IN.read_text(encoding="utf-8")


def load_markers(path: Path | None) -> LoginMarkers:
    """Return the built-in markers with the keys of the file at `path` over them.

    Raises ConfigError with all mistakes of the file at once.
    """
    values = tomllib.loads(built_in_toml())
    text = ""
    if path is not None:
        found = read_toml(path)
        if isinstance(found, ConfigProblem):
            raise ConfigError([ConfigProblem(found.where, found.message, found.suggestion or _HINT)])
        text, table = found
        values |= table
    try:
        return LoginMarkers(**values)
    except ValidationError as error:
        problems = _problems(error, path, text)
        raise ConfigError([problem for _, problem in sorted(problems, key=lambda pair: pair[0])]) from None


def markers_toml(markers: LoginMarkers) -> str:
    """Return the markers as TOML that `load_markers` reads again."""
    table = markers.model_dump()
    states = table.pop(_TABLES)
    if not states:
        table[_TABLES] = ()
    lines = [f"{name} = {toml_value(value)}" for name, value in table.items()]
    for state in states:
        lines += ["", f"[[{_TABLES}]]", *(f"{name} = {toml_value(value)}" for name, value in state.items())]
    return "\n".join(lines) + "\n"


def _problems(error: ValidationError, path: Path | None, text: str) -> Iterator[tuple[int, ConfigProblem]]:
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        location = detail["loc"]
        line = _line(text, location)
        where = f"{path}:{line}" if line else str(path)
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)[1:]
        message, suggestion = in_our_words(detail["msg"]), ""
        if detail["type"] == "extra_forbidden":
            message, suggestion = "unknown key", _suggest(location)
        yield line or 0, ConfigProblem(where, f"{place}: {message}", suggestion)


def _line(text: str, location: tuple[int | str, ...]) -> int | None:
    """Return the line of a key; of a key in the nth [[page_state]], that one's."""
    lines = text.split("\n")
    if location[0] == _TABLES and len(location) > 1 and isinstance(location[1], int):
        headers = [number for number, line in enumerate(lines) if _TABLE.match(line)]
        if location[1] < len(headers):
            start = headers[location[1]]
            lines = [""] * start + lines[start:]  # what stands before it has the same names
    name = ".".join(part for part in location if isinstance(part, str))
    return find_line(line_numbers("\n".join(lines)), name)


def _suggest(location: tuple[Any, ...]) -> str:
    name = str(location[-1])
    is_top = len(location) == 1
    near = difflib.get_close_matches(name.lower(), (LoginMarkers if is_top else PageState).model_fields, n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"it belongs above the first [[{_TABLES}]]" if name in LoginMarkers.model_fields else ""
