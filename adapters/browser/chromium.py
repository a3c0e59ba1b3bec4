"""Finding the browser and its driver, and asking them for their versions."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from adapters.browser.settings import BrowserSettings
from daemon.domain.errors import Code, Rejected

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_DRIVERS = ("chromedriver", "chromium.chromedriver")
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_VERSION = re.compile(r"\b(\d+)(?:\.\d+){2,3}\b")
_ASK_WITHIN_S = 10.0
_HOW = "install it: apt install chromium chromium-driver"

_Stamp = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Program:
    """A program on this machine."""

    path: Path
    version: str

    @property
    def major(self) -> int:
        """Return the first number of its version."""
        return int(self.version.split(".", 1)[0])


@dataclass(frozen=True, slots=True)
class Programs:
    """Finds programs; asks each for its version once, as long as its file stays the same."""

    settings: BrowserSettings
    _versions: dict[_Stamp, str] = field(default_factory=dict)

    def browser(self) -> Program:
        """Return the browser. Raises Rejected(no_browser)."""
        wanted = self.settings.browser_path
        path = self._find((str(wanted),) if wanted else BROWSERS)
        if path is None:
            named = f"the browser {wanted}" if wanted else f"none of {', '.join(BROWSERS)}"
            raise Rejected(Code.NO_BROWSER, f"{named} is there; {_HOW}")
        version = self._version(path)
        if version is None:
            raise Rejected(Code.NO_BROWSER, f"{path} does not tell its version; {_HOW}")
        return Program(path, version)

    def driver(self) -> Program:
        """Return the driver. Raises Rejected(driver_mismatch) where there is none."""
        wanted = self.settings.driver_path
        path = self._find((str(wanted),) if wanted else _DRIVERS)
        version = self._version(path) if path else None
        if path is None or version is None:
            raise Rejected(
                Code.DRIVER_MISMATCH,
                f"{path or wanted or 'chromedriver'} is not there or does not run; {_HOW}",
            )
        return Program(path, version)

    def pair(self) -> tuple[Program, Program]:
        """Return browser and driver that fit. Raises Rejected(no_browser), Rejected(driver_mismatch)."""
        browser, driver = self.browser(), self.driver()
        if browser.major != driver.major:
            raise Rejected(
                Code.DRIVER_MISMATCH,
                f"the browser {browser.path} is version {browser.version}, its driver {driver.path} is version "
                f"{driver.version}: install both in the same major version (apt install chromium chromium-driver)",
            )
        return browser, driver

    def _find(self, names: tuple[str, ...]) -> Path | None:
        path = f"{self.settings.environ.get('PATH', '')}:{_SYSTEM_PATH}"
        for name in names:
            if (found := shutil.which(name, path=path)) is not None:
                return Path(found).absolute()
        return None

    def _version(self, path: Path) -> str | None:
        try:
            look = path.stat()
        except OSError:
            return None
        stamp = (str(path), look.st_mtime_ns, look.st_size)
        if stamp not in self._versions and (told := _ask(path)) is not None:
            self._versions[stamp] = told
        return self._versions.get(stamp)


def _ask(path: Path) -> str | None:
    environ = {"PATH": _SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": os.devnull}
    try:
        done = subprocess.run(
            [str(path), "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_ASK_WITHIN_S,
            check=False, text=True, errors="replace", env=environ,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(done.stdout)
    return found.group(0) if found else None
