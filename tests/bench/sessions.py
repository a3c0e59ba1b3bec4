"""Browser sessions: from the order to the login state, and from the end to its event, against a bare script.

The bare script starts the same browser, by the same library and driver, on a clone of the same profile, loads the
same page and waits for the same answer of the site; everything it needs is imported before its clock runs. The two
take turns, so that whatever else this machine does falls to both.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from adapters.control.client import ControlClient
from tests.bench.report import p50, tell
from tests.daemons import ROOT, Daemon, Simulator

TURNS = 9
BARE = """
import json, pathlib, shutil, subprocess, sys, time
import undetected_chromedriver as uc
driver_path, profile, scratch, url = sys.argv[1:5]
uc.finalize = lambda *a, **k: None
version = subprocess.run(["chromium", "--version"], capture_output=True, text=True).stdout.split()[1]
for turn in sys.stdin:
    clone = f"{scratch}/{turn.strip()}"
    shutil.copytree(profile, clone)
    options = uc.ChromeOptions()
    options.page_load_strategy = "none"
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    for switch in ("--no-first-run", "--disable-background-networking", "--disable-component-update",
                   "--disable-sync", "--disable-gpu", "--password-store=basic", "--headless=new"):
        options.add_argument(switch)
    begin = time.perf_counter()
    driver = uc.Chrome(options=options, user_data_dir=clone, driver_executable_path=driver_path,
                       version_main=int(version.split(".")[0]), use_subprocess=True)
    driver.get(url)
    seen, asked = False, set()
    while not seen:
        for entry in driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.loadingFinished" and message["params"]["requestId"] in asked:
                body = driver.execute_cdp_cmd("Network.getResponseBody", {"requestId": message["params"]["requestId"]})
                seen = "success" in body["body"]
            elif message["method"] == "Network.responseReceived":
                if "/account/info/" in message["params"]["response"]["url"]:
                    asked = {message["params"]["requestId"]}
            elif message["method"] == "Page.frameStartedLoading":
                asked = set()
    login = time.perf_counter() - begin
    begin = time.perf_counter()
    pid = driver.browser_pid
    driver.execute_cdp_cmd("Browser.close", {})
    import os
    os.waitpid(pid, 0)
    end = time.perf_counter() - begin
    driver.service.process.kill(); driver.service.process.wait()
    print(json.dumps([login, end]), flush=True)
"""


class Watch:
    """Collects the daemon's events with the time of their arrival."""

    def __init__(self, daemon: Daemon) -> None:
        self._seen: list[tuple[float, dict[str, Any]]] = []
        self._changed = threading.Condition()
        client = ControlClient(daemon.state_dir / "control.sock")
        threading.Thread(target=self._read, args=(client,), daemon=True).start()

    def _read(self, client: ControlClient) -> None:
        for event in client.watch(None):
            with self._changed:
                self._seen.append((time.perf_counter(), event))
                self._changed.notify_all()

    def wait(self, kind: str, since: float) -> float:
        """Return when the first event of this kind came after `since`."""
        with self._changed:
            while True:
                for at, event in self._seen:
                    if at > since and event["type"].endswith(kind):
                        return at
                if not self._changed.wait(30):
                    raise SystemExit(f"no {kind} came: {[event['type'] for _, event in self._seen]}")


def _memory_of(pid: int) -> float:
    """Return the megabytes that this process alone accounts for (its proportional share)."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has just ended
        return 0.0
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1000


def main() -> None:
    """Measure, and print each as a ratio to the bare script of the same run."""
    print("sessions")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulator = Simulator(folder / "simulator")
        url = f"{simulator.url}/?page=logged_in"
        daemon = Daemon(
            folder,
            {
                "session.user_data_master_dir": str(folder / "profiles"),
                "session.tiktok_url": f"{simulator.url}/",
            },
        ).use_simulator(simulator)
        master = folder / "profiles" / "master"
        master.parent.mkdir(mode=0o700)
        _make_profile(master)
        try:
            ours, ends, logins, exits, memory = _in_turns(daemon, master, folder / "bare", url)
        finally:
            daemon.stop()
            simulator.stop()
    tell(
        "command to login state, p50",
        p50(ours),
        "ms",
        floor=p50(logins),
        floor_name="bare script",
        aim="≤ 1.15",
    )
    tell(
        "window told to close to `ended`, p50",
        p50(ends),
        "ms",
        floor=p50(exits),
        floor_name="browser exit",
    )
    for what, value in memory.items():
        tell(what, value, "MB")


def _make_profile(path: Path) -> None:
    path.mkdir(parents=True, mode=0o700)
    subprocess.run(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--password-store=basic",
         "--disable-background-networking", f"--user-data-dir={path}", "--dump-dom", "about:blank"],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip


def _in_turns(
    daemon: Daemon, master: Path, scratch: Path, url: str
) -> tuple[list[float], list[float], list[float], list[float], dict[str, float]]:
    """Return milliseconds to the login state and from the close to its event, ours and the bare script's; and memory."""
    daemon.start()
    watch = Watch(daemon)
    memory: dict[str, float] = {}
    found: list[tuple[float, float]] = []
    _ours(daemon, watch, url, 0, memory)  # the first one starts what the others share
    with _bare(daemon, master, scratch, url) as bare:
        theirs = [_ask(bare, 0)]
        for turn in range(1, TURNS + 1):
            found.append(_ours(daemon, watch, url, turn))
            theirs.append(_ask(bare, turn))
    ours, bares = list(zip(*found, strict=True)), list(zip(*theirs[1:], strict=True))
    return list(ours[0]), list(ours[1]), list(bares[0]), list(bares[1]), memory


def _ours(
    daemon: Daemon, watch: Watch, url: str, turn: int, memory: dict[str, float] | None = None
) -> tuple[float, float]:
    begin = time.perf_counter()
    reply = daemon.call("session/open", {"headless": True, "url": url}, id=f"bench-{turn}")
    login = watch.wait("session.login_state", begin)
    if memory is not None:
        memory.update(_memory(daemon))
    close = time.perf_counter()
    daemon.call("session/close", {"session": reply["result"]["session"]})
    end = watch.wait("session.ended", close)
    return (login - begin) * 1000, (end - close) * 1000


def _ask(bare: "subprocess.Popen[str]", turn: int) -> tuple[float, float]:
    assert bare.stdin is not None
    assert bare.stdout is not None
    print(turn, file=bare.stdin, flush=True)
    line = bare.stdout.readline()
    if not line:
        raise SystemExit("the bare script broke off")
    login, end = json.loads(line)
    return login * 1000, end * 1000


def _memory(daemon: Daemon) -> dict[str, float]:
    assert daemon.process is not None
    children = psutil.Process(daemon.process.pid).children(recursive=True)
    browser = [child for child in children if "chrom" in child.name()]
    helpers = [child for child in children if child not in browser]
    return {
        "memory: the daemon": _memory_of(daemon.process.pid),
        "memory: nursery and one worker": sum(_memory_of(child.pid) for child in helpers),
        "memory: one browser": sum(_memory_of(child.pid) for child in browser),
    }


@contextlib.contextmanager
def _bare(daemon: Daemon, master: Path, scratch: Path, url: str) -> Iterator["subprocess.Popen[str]"]:
    driver = next((daemon.state_dir / "browser").glob("chromedriver-*"))
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", BARE, str(driver), str(master), str(scratch), url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.communicate(timeout=30)
