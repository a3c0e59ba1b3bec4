"""A bare Debian, as debootstrap makes it, with a person on it who may use sudo.

How apt and pip of in there reach their registries is how those of this machine do: from where, through what, trusting
whom is read here when it runs, and stands in no file of ours.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.systemd.machine import ENVIRON, ROOT, Machine, why_not

PERSON, PERSON_ID = "person", 1000
# What the README says that there is, and what makes it a machine that can be booted. No Python: make fetches it.
PACKAGES = ("git", "make", "sudo", "ca-certificates", "systemd", "dbus")
# They would reach for the outside's terminals and devices, or run apt at a moment of their own.
MASKED = (
    "getty.target",
    "systemd-logind.service",
    "systemd-udevd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
)


def what_is_missing() -> str | None:
    """Return why no bare machine can be made here, or None."""
    if why := why_not():
        return why
    if shutil.which("debootstrap") is None:
        return "needs debootstrap"
    if not _sources():
        return "needs a Debian whose apt has its lists: apt-get update"
    return None


@contextlib.contextmanager
def bare_machine(suite: str) -> Iterator[Machine]:
    """Boot a bare machine of that suite; what `origin` of its folder's neighbour holds is seen there, see Machine."""
    # Not below /tmp, which may be in memory or an overlay itself.
    folder = Path(tempfile.mkdtemp(prefix=f"tokd-{suite}-", dir="/var/tmp"))
    machine = None
    try:
        base, origin = folder / "base", folder / "origin"
        make_tree(suite, base)
        copy_source(origin)
        (folder / "machine").mkdir()
        machine = Machine(folder / "machine", base, origin, has_own_network=False)
        yield machine.boot()
    finally:
        if machine is not None:
            machine.halt()
        remove(folder)


def make_tree(suite: str, root: Path) -> None:
    """Make the tree. With `TOKD_BASES` what debootstrap made is kept in that folder, and taken from there."""
    kept = Path(os.environ["TOKD_BASES"]) / f"{suite}.tar" if "TOKD_BASES" in os.environ else None
    if kept is not None and kept.exists():
        root.mkdir()
        subprocess.run(["tar", "-C", root, "-xpf", kept, "--numeric-owner"], check=True)
    else:
        _debootstrap(suite, root)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            draft = kept.with_suffix(".new")
            subprocess.run(["tar", "-C", root, "-cpf", draft, "--numeric-owner", "."], check=True)
            draft.replace(kept)
    _carry_configuration(suite, root)
    in_tree = ["chroot", str(root), "env", "-i", *(f"{name}={value}" for name, value in ENVIRON.items())]
    subprocess.run(
        [*in_tree, "useradd", "--create-home", "--uid", str(PERSON_ID), "--shell", "/bin/bash", PERSON], check=True
    )  # fmt: skip
    (root / "etc/sudoers.d/person").write_text(f"{PERSON} ALL=(ALL) NOPASSWD: ALL\n")
    units = root / "etc/systemd/system"
    for name in MASKED:
        (units / name).symlink_to("/dev/null")


def _debootstrap(suite: str, root: Path) -> None:
    mirror, _ = _sources()[0]
    environ = dict(ENVIRON)
    for scheme in ("http", "https"):
        asked = subprocess.run(
            ["apt-config", "shell", "P", f"Acquire::{scheme}::Proxy"],
            capture_output=True,
            text=True,
            check=True,
        )
        if found := re.match(r"P='(.*)'", asked.stdout):
            environ[f"{scheme}_proxy"] = found[1]
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(root), mirror],
        env=environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        raise AssertionError(
            f"debootstrap {suite} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr}"
        )


def _codename() -> str:
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else ""


def _sources() -> list[tuple[str, str]]:
    """Return what apt gets its lists of this Debian from: addresses, and what comes after its name, such as -security."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(IDENTIFIER) $(REPO_URI) $(RELEASE) $(COMPONENT)"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    lines = [line.split() for line in told.splitlines()]
    name = _codename()
    found = [
        (line[1], line[2].removeprefix(name))
        for line in lines
        if len(line) == 4 and line[0] == "Packages" and line[3] == "main" and line[2].startswith(name)
    ]
    # The release itself first: debootstrap takes that one.
    return sorted(dict.fromkeys(found), key=lambda source: len(source[1]))


def _carry_configuration(suite: str, root: Path) -> None:
    """Let apt and pip of the tree do as those of this machine."""
    lines = [f"deb {address} {suite}{more} main\n" for address, more in _sources()]
    (root / "etc/apt/sources.list").write_text("".join(lines))
    wanted = [Path("/etc/apt/apt.conf"), *sorted(Path("/etc/apt/apt.conf.d").glob("*"))]
    files = [path for path in wanted if path.is_file() and "Acquire" in path.read_text(errors="replace")]
    files += [Path("/etc/resolv.conf"), Path("/etc/hosts"), *_pip_files()]
    for path in files:
        if path.is_file():
            place = root / path.relative_to("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            shutil.copyfile(path, place)


def _pip_files() -> list[Path]:
    """Return pip's settings, and the authorities that it trusts by them."""
    pip = [sys.executable, "-m", "pip", "config"]
    told = subprocess.run([*pip, "debug"], capture_output=True, text=True, check=False).stdout
    files = [Path(name) for name in re.findall(r"^\s+(/.+), exists: True$", told, re.MULTILINE)]
    trusted = subprocess.run([*pip, "get", "global.cert"], capture_output=True, text=True, check=False).stdout
    return files + [Path(name) for name in (trusted.strip(), os.environ.get("PIP_CERT", "")) if name]


def copy_source(origin: Path) -> None:
    """Make a clone of this repository, as it is committed, that belongs to the person: for git to trust it."""
    git("clone", "-q", "--no-hardlinks", str(ROOT), str(origin))
    git("checkout", "-q", "-B", "main", folder=origin)
    own(origin)


def git(*words: str, folder: Path = ROOT) -> str:
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "-c", "user.name=tokd", "-c", "user.email=tokd@localhost", *words],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def own(folder: Path) -> None:
    subprocess.run(["chown", "-R", f"{PERSON_ID}:{PERSON_ID}", str(folder)], check=True)


def remove(folder: Path) -> None:
    """Remove a folder with a tree in it, after whatever a broken debootstrap may have left mounted there."""
    for _ in range(3):
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        inside = [place for place in mounts if place.startswith(f"{folder}/")]
        for place in reversed(inside):
            subprocess.run(["umount", place], check=False)
        if not inside:
            subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)
            return
    raise AssertionError(f"something is still mounted below {folder}: {inside}; it was left as it is")
