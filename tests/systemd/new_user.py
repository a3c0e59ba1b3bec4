"""A new user's way, on a bare Debian: the commands of docs/operations.md, as they stand there and in that order."""

import hashlib
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any

import pytest

from tests.daemons import ROOT, make_clip
from tests.systemd.bare import PERSON_ID, bare_machine, git, own
from tests.systemd.machine import SOURCE
from tests.systemd.newcomer import FOLDER, MARKS, SUITES, Newcomer
from tests.waiting import wait_until

pytestmark = MARKS

CONFIG = "/etc/tokd/tokd.toml"
KEPT = "/etc/tokd/tokd.toml /etc/tokd/credentials/* /etc/systemd/system/tokd.service.d/*"
WALKED = ("Install", "Rehearse", "Link an account", "Schedule a post", "Restart", "Upgrade", "Uninstall")
TAMPERED = "annotated-doc"


def sections() -> dict[str, list[str]]:
    """Return the fenced commands of the document, by the headings above them."""
    text = (ROOT / "docs/operations.md").read_text()
    parts = [part.split("\n", 1) for part in text.split("\n## ")[1:]]
    fence = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return {title.strip(): fence.findall(body) for title, body in parts}


class _StayHere(urllib.request.HTTPRedirectHandler):
    """The redirect is the answer: the address that a browser would end at."""

    def http_error_302(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage) -> IO[bytes]:
        fp.headers = headers  # type: ignore[attr-defined]
        return fp


@dataclass
class Walk(Newcomer):
    """The machine, and the person who works at it with the document in hand."""

    document: dict[str, list[str]]
    seen: dict[str, Any] = field(default_factory=dict)
    run: set[tuple[str, int]] = field(default_factory=set)

    def block(self, section: str, number: int = 0, put: dict[str, str] | None = None, **more: Any) -> str:
        """Run a block of the document, and return what it prints. `put` has what stands for an example in it."""
        script = self.document[section][number]
        for example, text in (put or {}).items():
            script, count = re.subn(example, text, script)
            assert count, f"no {example} in {section}"
        self.run.add((section, number))
        done = self.person(script, **more)
        return done.stdout + done.stderr

    def posts(self) -> list[dict[str, Any]]:
        return list(json.loads(self.person("sudo tokd post list --json").stdout)["result"]["posts"])

    def simulator(self, path: str) -> Any:
        """Ask the simulated TikTok, whose network is ours."""
        health = json.loads(self.person("sudo tokd health --json").stdout)
        url = health["result"]["parts"]["simulator"]["url"]
        with urllib.request.urlopen(f"{url}/_simulator/{path}", timeout=10) as answer:
            return json.load(answer)

    def is_active(self) -> bool:
        return self.machine.show("ActiveState") == "active"

    def commit(self, message: str, change: tuple[str, str, str]) -> None:
        """Publish a newer tokd: in a file, put one text for another."""
        origin = self.machine.folder.parent / "origin"
        name, pattern, text = change
        path = origin / name
        new, count = re.subn(pattern, text, path.read_text(), flags=re.MULTILINE)
        assert count, f"{pattern} is not in {name}"
        path.write_text(new)
        git("commit", "-q", "-a", "-m", message, folder=origin)
        own(origin)

    def published(self, post: str) -> dict[str, Any]:
        """Return the post when it is."""
        last: dict[str, Any] = {}

        def look() -> bool:
            last.update(next((found for found in self.posts() if found["post"] == post), {}))
            return last.get("state") == "published"

        wait_until(look, 150, 1.0, what=lambda: f"{post} published: {last}")
        return last


@pytest.fixture(scope="module", params=SUITES or ["none"])
def walk(request: pytest.FixtureRequest) -> Iterator[Walk]:
    suite = str(request.param)
    print(
        f"\n{suite}: making a bare machine of commit {git('rev-parse', '--short', 'HEAD').strip()} …",
        flush=True,
    )
    with bare_machine(suite) as machine:
        walk = Walk(suite, machine, sections())
        walk.person(f"git clone -q {SOURCE} {FOLDER}")
        clip = make_clip(machine.path(FOLDER) / "clip.mp4")
        os.chown(clip, PERSON_ID, PERSON_ID)
        walk.seen["clip"] = hashlib.sha256(clip.read_bytes()).hexdigest()
        yield walk


def test_there_is_neither_python_nor_a_browser_to_begin_with(walk: Walk) -> None:
    told = walk.person("command -v python3 chromium tokd || true").stdout

    assert told == ""


def test_make_install_needs_nothing_else(walk: Walk) -> None:
    told = walk.block("Install")

    assert "installed. Look at /etc/tokd/tokd.toml" in told
    version = walk.person("tokd --version; /opt/tokd/bin/python --version").stdout.split("\n")
    print(
        f"  {walk.suite}: {', '.join(version[:2])}, {walk.machine.run('systemctl', '--version').stdout.splitlines()[0]}"
    )
    walk.seen["version"] = version[0]


def test_the_key_can_be_copied(walk: Walk) -> None:
    walk.seen["key"] = walk.block("Install", 1).strip()

    assert len(walk.seen["key"]) == 44


def test_with_its_settings_it_starts_and_the_doctor_finds_nothing_broken(walk: Walk) -> None:
    settings = walk.machine.sh(f"cat {CONFIG}")
    settings = settings.replace('#client_key = "…"', 'client_key = "aw0123456789"')
    settings = settings.replace("#redirect_uri =", "redirect_uri =")
    walk.machine.run("sh", "-c", f"cat > {CONFIG}", text_in=settings)

    # The doctor also calls TikTok, which cannot be reached from everywhere.
    told = walk.block("Install", 2, text_in="a-secret-of-my-app\n", check=False)

    assert walk.is_active(), told
    assert walk.machine.show("UnitFileState") == "enabled"
    broken = re.findall(r"^fail +(.*)$", told, re.MULTILINE)
    assert [line for line in broken if "tiktok" not in line.lower()] == [], told
    assert "a-secret-of-my-app" not in told


def test_it_can_be_rehearsed(walk: Walk) -> None:
    walk.block("Rehearse")

    assert walk.is_active()
    assert walk.simulator("users")[0]["name"] == "demo"


def test_an_account_is_linked_by_agreeing_in_a_browser(walk: Walk) -> None:
    (script,) = walk.document["Link an account"]
    walk.run.add(("Link an account", 0))
    address, told = "", ""
    with walk.running(script) as process:
        alarm = threading.Timer(120, process.kill)
        alarm.start()
        assert process.stdout is not None
        assert process.stdin is not None
        for line in process.stdout:
            told += line
            if found := re.match(r"(http://127\.0\.0\.1:\d+/v2/auth/authorize/\S+)", line):
                address = found[1]
                with urllib.request.build_opener(_StayHere()).open(
                    f"{address}&_simulator_user=demo", timeout=20
                ) as answer:
                    process.stdin.write(answer.headers["Location"] + "\n")
                    process.stdin.close()
        code = process.wait()
        alarm.cancel()

    assert address, told
    assert code == 0, told
    assert "account shop is linked" in told
    assert "code=" not in walk.machine.journal()


def test_a_post_is_published_though_the_service_was_restarted_before_its_time(walk: Walk) -> None:
    told = walk.block("Schedule a post")
    assert "scheduled" in told, told
    (post,) = walk.posts()
    walk.seen["post"] = post["post"]
    before = walk.machine.show("MainPID")

    walk.block("Restart")

    assert walk.is_active()
    assert walk.machine.show("MainPID") != before
    walk.published(post["post"])
    ledger = walk.simulator("ledger")
    assert len(ledger["inits"]) == len(ledger["publishes"]) == 1
    assert walk.seen["clip"] in json.dumps(ledger), "the bytes are those of the file"


def test_after_the_power_was_cut_it_comes_back_with_the_machine(walk: Walk) -> None:
    walk.machine.cut_power()
    walk.machine.boot()
    walk.machine.run("systemctl", "start", "multi-user.target")

    wait_until(walk.is_active, 60, 0.5, what=lambda: walk.machine.journal()[-3000:])
    assert [(post["post"], post["state"]) for post in walk.posts()] == [(walk.seen["post"], "published")]


def test_an_upgrade_keeps_settings_secrets_and_posts(walk: Walk) -> None:
    before = walk.machine.sh(f"sha256sum {KEPT}")
    main = walk.machine.show("MainPID")
    walk.commit("Be newer", ("pyproject.toml", r'^version = "([^"+]*)"', r'version = "\1+newer"'))

    walk.block("Upgrade")

    assert walk.person("tokd --version").stdout.strip() == f"{walk.seen['version']}+newer"
    assert walk.machine.sh(f"sha256sum {KEPT}") == before
    assert walk.is_active()
    assert walk.machine.show("MainPID") not in {"0", main}
    assert [(post["post"], post["state"]) for post in walk.posts()] == [(walk.seen["post"], "published")]
    assert walk.block("Install", 1).strip() == walk.seen["key"]


def test_the_linked_account_posts_on_after_the_upgrade(walk: Walk) -> None:
    told = walk.person(
        "sudo tokd post schedule /srv/tokd/clip.mp4 --account shop --at now --privacy SELF_ONLY --json"
    ).stdout

    walk.published(json.loads(told.strip().splitlines()[-1])["result"]["post"])


def test_an_upgrade_with_one_wrong_hash_is_refused_and_the_service_goes_on(walk: Walk) -> None:
    main, program = walk.machine.show("MainPID"), walk.machine.sh("readlink /opt/tokd/venv; ls /opt/tokd")
    pins = (Path(ROOT) / "requirements/run.txt").read_text()
    (pin,) = re.findall(rf"^{TAMPERED}==\S+ \\\n(?:    --hash=\S+(?: \\)?\n)+", pins, re.MULTILINE)
    walk.commit(
        "Be tampered with",
        (
            "requirements/run.txt",
            re.escape(pin),
            re.sub(r"sha256:\w{8}", "sha256:00000000", pin).replace("\\", r"\\"),
        ),
    )

    told = walk.block("Upgrade", check=False)

    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in told
    assert TAMPERED in told
    assert walk.machine.sh("readlink /opt/tokd/venv; ls /opt/tokd") == program
    assert walk.machine.show("MainPID") == main
    assert walk.person("sudo tokd health").returncode == 0


def test_the_program_of_before_can_be_gone_back_to(walk: Walk) -> None:
    now = walk.machine.sh("readlink /opt/tokd/venv").strip()
    (old,) = set(walk.machine.sh("cd /opt/tokd; echo venv-*").split()) - {now}

    walk.block("Upgrade", 1, put={r"venv-\d{8}-\d{6}-\d+": old})

    assert walk.is_active()
    assert walk.person("tokd --version").stdout.strip() == walk.seen["version"]
    assert walk.seen["post"] in {post["post"] for post in walk.posts()}


def test_uninstalling_leaves_the_data_and_nothing_of_the_program(walk: Walk) -> None:
    before = walk.machine.sh(f"sha256sum {KEPT}")

    told = walk.block("Uninstall")

    assert "What is yours stays: /var/lib/tokd" in told
    assert walk.machine.sh(f"sha256sum {KEPT}") == before
    walk.machine.sh("test -e /var/lib/tokd/tokd.db; test -e /srv/tokd/clip.mp4")
    walk.machine.sh(
        "test ! -e /opt/tokd; test ! -e /etc/systemd/system/tokd.service; test ! -e /usr/local/bin/tokd"
    )
    assert walk.machine.processes() == []


def test_installed_again_it_goes_on_with_what_was_left(walk: Walk) -> None:
    walk.person("git reset -q --hard HEAD~1")  # before the wrong hash
    walk.block("Install")
    walk.person("sudo systemctl enable --now tokd")

    assert walk.seen["post"] in {post["post"] for post in walk.posts()}


def test_after_the_rehearsal_it_begins_anew(walk: Walk) -> None:
    walk.block("Rehearse", 1)

    wait_until(walk.is_active, 30, 0.5, what=lambda: walk.machine.journal()[-3000:])
    assert walk.posts() == []
    assert "simulator" not in walk.person("sudo tokd health --json").stdout


def test_every_command_of_these_sections_was_run(walk: Walk) -> None:
    there = {(section, number) for section in WALKED for number in range(len(walk.document[section]))}

    assert walk.run == there
