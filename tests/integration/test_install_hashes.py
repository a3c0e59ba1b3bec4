"""The installation takes only wheels whose hash is in its list: pip is really run, as make and the service run it."""

import base64
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemons import ROOT


def make_wheel(folder: Path, name: str, code: str = "") -> str:
    """Make a wheel of one module, and return its SHA-256."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for path, text in files.items()
    }
    record = "".join(f"{path},sha256={digest.decode().rstrip('=')},\n" for path, digest in digests.items())
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in (*files.items(), (f"{info}/RECORD", f"{record}{info}/RECORD,,\n")):
            wheel.writestr(inside, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Shelf:
    """A folder of packages for pip, which is told to look nowhere else, and an environment to install into."""

    folder: Path
    environment: Path

    def install(self, *pins: str) -> "subprocess.CompletedProcess[str]":
        lists = self.folder / "lists"
        lists.mkdir(exist_ok=True)
        (lists / "build.txt").write_text("")
        (lists / "run.txt").write_text("".join(f"{pin}\n" for pin in pins))
        return subprocess.run(
            ["sh", str(ROOT / "requirements/install.sh"), str(self.environment), str(lists / "run.txt")],
            env={
                "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": str(self.folder), "PIP_NO_CACHE_DIR": "1",
            },
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def installed(self) -> set[str]:
        (place,) = self.environment.glob("lib/python3*/site-packages")
        return {path.name for path in place.iterdir() if path.name != "__pycache__"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def shelf(tmp_path: Path, environment: Path) -> Shelf:
    return Shelf(tmp_path, environment)


def test_a_wheel_whose_hash_is_in_the_list_is_installed(shelf: Shelf) -> None:
    digest = make_wheel(shelf.folder, "honest")

    done = shelf.install(f"honest==1.0 --hash=sha256:{digest}")

    assert done.returncode == 0, done.stderr
    assert {"honest.py", "honest-1.0.dist-info"} <= shelf.installed()


def test_a_wheel_that_was_changed_is_refused_and_nothing_is_installed(shelf: Shelf) -> None:
    good = make_wheel(shelf.folder, "neighbour")
    digest = make_wheel(shelf.folder, "changed")
    make_wheel(shelf.folder, "changed", "import os")
    before = shelf.installed()

    done = shelf.install(f"neighbour==1.0 --hash=sha256:{good}", f"changed==1.0 --hash=sha256:{digest}")

    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert "changed==1.0" in done.stderr
    assert shelf.installed() == before


def test_a_line_whose_hash_was_changed_is_refused_and_nothing_is_installed(shelf: Shelf) -> None:
    digest = make_wheel(shelf.folder, "tampered")
    before = shelf.installed()

    done = shelf.install(f"tampered==1.0 --hash=sha256:{digest[::-1]}")

    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert shelf.installed() == before


@pytest.mark.parametrize("pin", ["unpinned", "unpinned==1.0"])
def test_a_line_without_a_hash_is_refused(shelf: Shelf, pin: str) -> None:
    make_wheel(shelf.folder, "unpinned")
    before = shelf.installed()

    done = shelf.install(pin)

    assert done.returncode != 0
    assert "--require-hashes" in done.stderr
    assert shelf.installed() == before


def test_a_source_package_is_not_built_though_its_hash_is_right(shelf: Shelf) -> None:
    setup = shelf.folder / "setup.py"
    setup.write_text(f"open({str(shelf.folder / 'built')!r}, 'w')\n")
    path = shelf.folder / "source-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as package:
        package.add(setup, "source-1.0/setup.py")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    done = shelf.install(f"source==1.0 --hash=sha256:{digest}")

    assert done.returncode != 0
    assert not (shelf.folder / "built").exists()


def test_the_service_and_make_install_packages_in_no_other_way() -> None:
    script, makefile = (ROOT / "systemd/install.sh").read_text(), (ROOT / "Makefile").read_text()
    assert 'sh "$SRC/requirements/install.sh" "$new" "$SRC/requirements/run.txt"' in script
    assert "sh requirements/install.sh $(VENV) requirements/run.txt" in makefile

    others = re.findall(r"^.*\bpip\"? install\b.*$", script + makefile, re.MULTILINE)

    # What is left is tokd's own tree, which brings nothing with it, and Home Assistant beside it.
    assert others
    assert [
        line
        for line in others
        if "--no-deps --no-build-isolation" not in line and "--require-hashes" not in line
    ] == []
