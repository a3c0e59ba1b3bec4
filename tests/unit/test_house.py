"""The house keeps its own rules: imports do nothing, names are ours alone, threads have one home, files stay small."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("daemon", "adapters", "config")
# Alembic runs these as scripts: importing them does their work, so nobody else may import them.
SCRIPTS = "adapters/storage/migrations"
LINES_MAX = 400
FUNCTION_LINES_MAX = 60

IMPORT_ALL = """
import importlib, socket, sys, threading

def refuse(*args, **kwargs):
    raise AssertionError("an import has a side effect")

socket.socket.__init__ = socket.socket.connect = socket.socket.bind = refuse
threading.Thread.start = refuse
for name in sys.stdin.read().split():
    before = threading.active_count()
    try:
        importlib.import_module(name)
    except BaseException as error:
        print(f"{name}: {error!r}")
    if threading.active_count() != before:
        print(f"{name}: started a thread")
"""


def sources() -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(found) > 100
    return found


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_module_can_be_imported_and_does_nothing_by_that() -> None:
    names = [
        module_of(path)
        for path in sources()
        if SCRIPTS not in path.as_posix() and path.name != "__main__.py"  # that one is a program
    ]

    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], input="\n".join(names), cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip

    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_every_part_of_a_run_that_the_suite_leaves_out_can_be_imported() -> None:
    """Their make targets are seldom run; a name that has moved would be found out then."""
    left_out = [
        path
        for path in committed()
        if path.match("tests/**/*.py") and not path.name.startswith(("test_", "__main__"))
    ]

    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], input="\n".join(map(module_of, left_out)), cwd=ROOT, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_no_other_distribution_provides_our_package_names() -> None:
    owners = importlib.metadata.packages_distributions()

    for package in PACKAGES:
        assert set(owners.get(package, [])) <= {"tokd"}


def test_no_committed_file_names_a_package_index() -> None:
    files = [
        path
        for path in committed()
        if path.suffix in {".txt", ".toml", ".cfg", ".ini", ".lock", ".json", ".yml"}
    ]
    assert any(path.parent.name == "requirements" for path in files)
    wanted = re.compile(
        r"--(extra-)?index-url|--find-links|files\.pythonhosted|/simple\b|\"resolved\"|index-url\s*="
    )

    assert [str(path) for path in files if wanted.search(path.read_text(errors="replace"))] == []


def test_every_requirement_is_pinned_by_a_hash() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        pins = re.findall(
            r"^([A-Za-z0-9_.-]+(?:\[[^\]]*\])?==[^\n]*(?:\n    --hash[^\n]*)*)",
            path.read_text(),
            re.MULTILINE,
        )

        assert pins
        assert [pin for pin in pins if "--hash=sha256:" not in pin] == []


def test_the_core_starts_threads_in_one_place() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if path.is_relative_to(ROOT / "daemon") and "threading.Thread(" in path.read_text()
    }

    assert users == {"daemon/worker.py"}


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_and_its_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    long = [
        f"{found.name}: {found.end_lineno - found.lineno + 1} lines"
        for found in ast.walk(tree)
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef)
        and found.end_lineno is not None
        and found.end_lineno - found.lineno + 1 > FUNCTION_LINES_MAX
    ]

    assert text.count("\n") <= LINES_MAX
    if SCRIPTS not in path.as_posix():  # a migration is one long list
        assert long == []


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_nothing_of_ours_imports_the_tests() -> None:
    wanted = re.compile(r"^\s*(from|import) tests\b", re.MULTILINE)

    assert [str(path) for path in sources() if wanted.search(path.read_text())] == []
