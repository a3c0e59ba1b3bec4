"""The nested machine with tokd installed by `make install`: its unit, its broker, and a simulated TikTok beside it.

The unit runs as it is installed; a drop-in says where TikTok is, and makes waits short enough for a test.
"""

import contextlib
import itertools
import json
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash.ledgers import Books, Findings, Ordered
from tests.crash.stage import SETTINGS, UNLIMITED, Clips
from tests.daemons import CLIENT_KEY, CLIENT_SECRET, FAST, Daemon, Simulator
from tests.e2e.session_stage import make_profile, minted
from tests.profiles import short_folder
from tests.systemd.machine import Machine
from tests.waiting import wait_until

DROP_IN = "/etc/systemd/system/tokd.service.d/90-test.conf"
NEXT_START = "/etc/tokd/next-start.env"
CONFIG = "/etc/tokd/tokd.toml"
UNITS = ("tokd.service", "tokd-xvfb.service")
LOOPBACK = ("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--no-proxy-server")
TIMES = (
    "MainPID",
    "ActiveState",
    "SubState",
    "NRestarts",
    "ActiveExitTimestampMonotonic",
    "ActiveEnterTimestampMonotonic",
)
UNTIL_READY_S = 60.0
RESTART_S = 0.2
ENDS = {"published", "sent_to_inbox", "failed", "uncertain", "cancelled"}


# SQLite takes no path through /proc/PID/root, and without its locks it must not be read: so a copy is made in there.
COPY = """
import sqlite3
with sqlite3.connect("file:/var/lib/tokd/tokd.db?mode=ro", uri=True) as ledger:
    ledger.backup(sqlite3.connect("/var/lib/tokd/copy.db"))
"""


class Installed(Daemon):
    """The daemon of the unit, asked through its own control socket; its ledger is read from a copy."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        super().__init__(folder)
        self._machine = machine
        self.state_dir = folder / "copy"
        self.state_dir.mkdir()
        self.socket = machine.path("/run/tokd/control.sock")
        self.media = machine.path("/srv/tokd")

    def ledger(self) -> Path:
        """Return a copy of the ledger as it is now, whether the daemon runs or not."""
        self._machine.run("runuser", "-u", "tokd", "--", "/opt/tokd/bin/python", "-c", COPY)
        made = self._machine.path("/var/lib/tokd/copy.db")
        copy = self.state_dir / "tokd.db"
        copy.write_bytes(made.read_bytes())
        made.unlink()
        return copy

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        self.ledger()
        return super().rows(query)


@dataclass(frozen=True)
class Seen:
    """A moment of the unit, by systemd's own clock (monotonic seconds)."""

    main: int
    state: str
    restarts: int
    left_at: float  # it was active last
    ready_at: float


class Stage:
    """The machine with tokd installed. Rows and tests work in `network()`."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.run, self.sh, self.show, self.network = machine.run, machine.sh, machine.show, machine.network
        self.simulator: Simulator
        self.daemon: Installed
        self._clips: Clips
        self.posts: dict[str, str] = {}  # the post of each order

    @classmethod
    def built(cls) -> "Stage":
        """Boot a machine and install tokd there. Raises NotBooted."""
        # Not below /tmp, which may be in memory or an overlay itself.
        machine = Machine(Path(tempfile.mkdtemp(prefix="tokd-machine-", dir="/var/tmp")))
        try:
            stage = cls(machine.boot())
            stage._set_up()
        except BaseException:
            machine.halt()
            raise
        return stage

    def _set_up(self) -> None:
        folder = self.machine.folder
        self.install()
        self.run("systemctl", "start", "mosquitto")
        self.run("tokd-secret", "tiktok-client-secret", text_in=CLIENT_SECRET)
        with self.network():
            self.simulator = Simulator(folder / "simulator")
            self.simulator.post("settings", UNLIMITED)
        self.daemon = Installed(self.machine, folder / "daemon")
        self._clips = Clips(folder, itertools.count(1))
        self.change()
        self.start()
        self.link()

    def close(self) -> None:
        with contextlib.suppress(AttributeError):
            self.simulator.stop()
        self.machine.halt()

    def install(self) -> str:
        return self.run("make", "-C", "/usr/src/tokd", "install", within_s=600, online=True).stdout

    def link(self) -> None:
        with self.network():
            reply = self.daemon.link(self.simulator)
        assert reply["status"] == "done", reply

    def let_in(self, name: str) -> str:
        """Give the broker a user, as systemd/mosquitto.conf says; return the password."""
        password = secrets.token_hex(8)
        self.run("mosquitto_passwd", "-b", "/etc/mosquitto/tokd.users", name, password)
        self.sh(f"tokd acl {name} > /etc/mosquitto/tokd.acl; systemctl reload mosquitto")
        return password

    # -- the unit ----------------------------------------------------------------------------------------

    def change(
        self, *, unit: str = "StartLimitIntervalSec=0", service: str = "WatchdogSec=10", **settings: str
    ) -> None:
        """Write the drop-in: lines of its two sections, and settings as section__name."""
        own = {
            "tiktok.api_base": self.simulator.url, "tiktok.client_key": CLIENT_KEY,
            "session.tiktok_url": f"{self.simulator.url}/", "session.browser_args": json.dumps(LOOPBACK),
            "session.min_free_mb": "0",
        }  # fmt: skip
        chosen = FAST | SETTINGS | own | {name.replace("__", "."): text for name, text in settings.items()}
        del chosen["log.format"]  # the journal's own is what an operator has
        lines = [
            "[Unit]",
            unit,
            "[Service]",
            f"EnvironmentFile=-{NEXT_START}",
            f"RestartSec={RESTART_S}",
        ]
        for name, text in chosen.items():
            value = text.replace("%", "%%")
            lines.append(f"Environment='TOKD_{name.upper().replace('.', '__')}={value}'")
        self.write(DROP_IN, "\n".join([*lines, service, ""]))
        self.run("systemctl", "daemon-reload")

    def write(self, path: str, text: str) -> None:
        self.run("sh", "-c", 'mkdir -p "$(dirname "$0")"; cat > "$0"', path, text_in=text)

    def arm(self, failpoint: str | None) -> None:
        """Let the next start, and those after it, have this failpoint."""
        path = self.machine.path(NEXT_START)
        path.write_text(f"TOKD_DAEMON__FAILPOINT={failpoint}\n" if failpoint else "")

    def start(self) -> None:
        """Start it anew, whatever was before."""
        self.run("systemctl", "reset-failed", "tokd", check=False)
        self.run("systemctl", "restart", "tokd", within_s=120)

    def stop(self) -> float:
        """Stop it; return the seconds that took."""
        began = time.monotonic()
        self.run("systemctl", "stop", "tokd", within_s=90)
        return time.monotonic() - began

    @contextlib.contextmanager
    def config(self) -> Iterator[str]:
        """Yield the settings' file as it is, and put it back at the end."""
        good = self.sh(f"cat {CONFIG}")
        try:
            yield good
        finally:
            self.write(CONFIG, good)

    def seen(self) -> Seen:
        found = self.machine.shown(*TIMES)
        return Seen(
            int(found["MainPID"]), found["ActiveState"], int(found["NRestarts"]),
            int(found["ActiveExitTimestampMonotonic"]) / 1e6, int(found["ActiveEnterTimestampMonotonic"]) / 1e6,
        )  # fmt: skip

    def main(self) -> int:
        return self.seen().main

    def another(self, before: int, within_s: float = UNTIL_READY_S) -> Seen:
        """Wait until another main process than this one is ready."""

        def look() -> Seen | None:
            found = self.seen()
            return found if found.state == "active" and found.main not in {0, before} else None

        found = wait_until(look, within_s, 0.1, what=lambda: f"another tokd: {self.seen()}")
        assert found is not None
        return found

    def words_of(self, pid: int) -> str:
        """Return what a process has put into the journal."""
        return self.machine.journal("tokd.service", f"_PID={pid}")

    def words_of_the_end(self) -> str:
        """Return what systemd itself has said since it began to stop the unit last."""
        return self.machine.journal("tokd.service", "_PID=1").rpartition("Stopping tokd")[2]

    def starts(self) -> int:
        """Return how often the program has been started and had good settings."""
        return self.machine.journal().count("secrets are sealed with")

    # -- what goes on in it --------------------------------------------------------------------------------

    def tokd(self, *words: str) -> str:
        return self.run("tokd", *words).stdout

    def order(self, size: int, **args: Any) -> Ordered:
        """Order a post of a file of its own, at once, and wait for the answer."""
        media, order = self._clips.make(self.daemon, size)
        reply = self.daemon.schedule(media, id=order.command, **args)
        assert reply["status"] == "done", reply
        self.posts[order.command] = reply["result"]["post"]
        return order

    def state_of(self, order: Ordered) -> str:
        return str(self.daemon.post(self.posts[order.command])["state"])

    def is_at_the_broker(self) -> bool:
        reply = self.daemon.call_or_none("system/health")
        return reply is not None and bool(reply["result"]["parts"]["mqtt"]["ok"])

    def books(self) -> Books:
        return Books(self.simulator.ledger(), self.daemon.ledger())

    def settled(self, orders: list[Ordered], within_s: float = 60) -> Findings:
        """Wait until nothing is under way any more; return what the independent reader says to these orders."""
        waiting = {self.posts[order.command] for order in orders}

        def look() -> bool:
            for post in list(waiting):
                reply = self.daemon.call_or_none("post/status", {"post": post})
                if reply is None:
                    return False
                if reply["result"]["state"] in ENDS:
                    waiting.discard(post)
            return not waiting

        with contextlib.suppress(AssertionError):  # what is still open, the reader calls lost
            wait_until(look, within_s, 0.2)
        return self.books().check(orders)

    # -- browsers ------------------------------------------------------------------------------------------

    def have_profile(self) -> None:
        """Put a profile in place that is logged in at the simulated site, once."""
        place = self.machine.path("/var/lib/tokd/profiles/master")
        if place.exists():
            return
        with short_folder() as folder, self.network():
            profile = make_profile(folder / "p", f"{self.simulator.url}/", minted(self.simulator))
            shutil.copytree(profile, place, symlinks=True, ignore=shutil.ignore_patterns("Singleton*"))
        self.sh("chown -R tokd:tokd /var/lib/tokd/profiles; chmod 700 /var/lib/tokd/profiles")

    def open_windows(self, number: int = 1) -> None:
        """Open so many windows at once, each on a clone of the profile that is logged in."""
        self.have_profile()
        answers = [self.later("session/open", {"timeout_seconds": 600}) for _ in range(number)]
        for answer in answers:
            reply = answer.result(120)
            assert reply["status"] == "done", reply
        wait_until(lambda: len(self.renderers()) >= number, 30, 0.2, what="renderers")

    def later(self, verb: str, args: dict[str, Any]) -> "Future[dict[str, Any]]":
        """Send a command whose answer takes its time, or never comes."""
        promise: Future[dict[str, Any]] = Future()

        def ask() -> None:
            try:
                promise.set_result(self.daemon.call(verb, args, id=f"w-{os.urandom(6).hex()}"))
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                promise.set_exception(error)

        threading.Thread(target=ask, daemon=True).start()
        return promise

    def commands(self) -> dict[int, str]:
        """Return the command line of each process of the unit, by its id in the machine."""
        script = (
            "for p in $(cat /sys/fs/cgroup/system.slice/tokd.service/cgroup.procs); do "
            "printf '%s ' $p; tr '\\0\\n' '  ' < /proc/$p/cmdline || true; echo; done 2>/dev/null"
        )
        lines = [line.partition(" ") for line in self.sh(script, check=False).splitlines()]
        return {int(pid): command for pid, _, command in lines if pid.isdigit()}

    def renderers(self) -> list[int]:
        """Return those that show pages."""
        return [pid for pid, command in self.commands().items() if "--type=renderer" in command]

    def windows(self) -> int:
        """Return how many browsers run on clones."""
        found = (
            re.search(r"--user-data-dir=(\S+/clones/\S+)", command)
            for command in self.commands().values()
            if "--type=" not in command
        )
        return len({match[1] for match in found if match})

    def titles(self) -> list[str]:
        """Return the titles of the windows on the unit's own screen."""
        screen = self.show("MainPID", "tokd-xvfb.service")
        found = self.run(
            "nsenter", "-t", screen, "-m", "env", "DISPLAY=:77", "xdotool", "search", "--onlyvisible", "--name", ".",
            "getwindowname", "%@", check=False,
        )  # fmt: skip
        return sorted(found.stdout.splitlines())

    def clones(self) -> list[str]:
        """Return what lies where sessions have their clones."""
        place = self.machine.path("/var/lib/tokd/profiles/clones")
        return sorted(path.name for path in place.iterdir()) if place.exists() else []

    def is_empty(self) -> bool:
        return self.machine.processes() == []


def exposure_of(text: str) -> float:
    """Return the number that `systemd-analyze security` ends with."""
    found = re.findall(r"exposure level for \S+: ([\d.]+)", text)
    assert found, text[-300:]
    return float(found[-1])


# Where the threads stand that must be among the stacks: the main one, the bus, the broker's, the workers, the timer.
STACKS = ("daemon/app.py", "daemon/bus.py", "adapters/mqtt/gateway.py", "daemon/worker.py", "apscheduler")


def missing_stacks(words: str) -> list[str]:
    """Return the threads whose stack is not among these words."""
    return [place for place in STACKS if not re.search(rf"{place}\S*\", line \d+ in ", words)]
