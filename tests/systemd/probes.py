"""Looks at the installed unit. Each returns what is wrong, in sentences; nothing wrong, nothing in the list."""

import re

from tests.systemd.stage import CONFIG, Stage, exposure_of

MOST_EXPOSED = 2.2
PRIVATE = ("/run/credentials/tokd.service", "/etc/tokd/credentials", "/var/lib/tokd/tokd.db")
_LEAKED = re.compile(r"^(CREDENTIALS_DIRECTORY|NOTIFY_SOCKET|WATCHDOG_)", re.MULTILINE)


def verified(stage: Stage, unit: str) -> list[str]:
    """Let systemd check a unit's text."""
    told = stage.run("systemd-analyze", "verify", f"/etc/systemd/system/{unit}", check=False)
    # It looks at other units, too, if ours name them: theirs are not ours to mend.
    return [
        f"verify: {line}"
        for line in told.stderr.splitlines()
        if unit.partition(".")[0] in line or told.returncode
    ]


def verified_for_a_person(stage: Stage) -> list[str]:
    """Let systemd check the unit of a desktop, as the person whose it is, with the program where that unit looks for it."""
    stage.sh(
        "id person 2>/dev/null || useradd --create-home person; cd ~person; mkdir -p .local/share/tokd/venv/bin; "
        "ln -sf /opt/tokd/bin/tokd .local/share/tokd/venv/bin/tokd; chown -R person: ."
    )
    told = stage.run(
        "runuser", "-u", "person", "--", "env", "HOME=/home/person", "XDG_RUNTIME_DIR=/tmp", "systemd-analyze", "--user",
        "verify", "/usr/src/tokd/systemd/user/tokd.service", check=False,
    )  # fmt: skip
    return [f"verify, for a person: {line}" for line in (told.stdout + told.stderr).splitlines()]


def is_shown(stage: Stage) -> bool:
    """Tell whether a window of the unit shows the page that it was opened for."""
    return any("TikTok" in title for title in stage.titles())


def exposed(stage: Stage, unit: str) -> tuple[float, list[str]]:
    """Return a unit's exposure, and whether it is too high."""
    told = stage.run(
        "systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}",
        f"/etc/systemd/system/{unit}", check=False,
    )  # fmt: skip
    value = exposure_of(told.stdout)
    wrong = told.returncode != 0 or value > MOST_EXPOSED
    return value, [f"{unit} is exposed with {value}, more than {MOST_EXPOSED}"] if wrong else []


def sandboxed(stage: Stage) -> list[str]:
    """Look at the browsers that run in the unit: their sandbox, their arguments, what they have inherited."""
    wrong, commands, main = [], stage.commands(), stage.main()
    renderers = [pid for pid, command in commands.items() if "--type=renderer" in command]
    if not renderers:
        wrong.append("no renderer runs")
    for pid in renderers:
        status = stage.sh(f"cat /proc/{pid}/status")
        if not re.search(r"^Seccomp:\s+2$", status, re.MULTILINE):
            wrong.append(f"the renderer {pid} may make any system call")
        # NSpid has a number for each level from ours down: the machine is the first, and it must be in another one.
        levels = re.search(r"^NSpid:(.*)$", status, re.MULTILINE)
        if levels is None or len(levels[1].split()) < 3:
            wrong.append(f"the renderer {pid} sees the processes of the unit")
        if stage.sh(f"readlink /proc/{pid}/ns/pid") == stage.sh(f"readlink /proc/{main}/ns/pid"):
            wrong.append(f"the renderer {pid} is in the daemon's own PID namespace")
    wrong += [f"without its sandbox: {command}" for command in commands.values() if "--no-sandbox" in command]
    for pid, command in commands.items():
        environ = stage.sh(f"tr '\\0' '\\n' < /proc/{pid}/environ || true")
        if pid != main and _LEAKED.search(environ):
            wrong.append(f"it has inherited what leads to systemd or to secrets: {command}")
    return wrong


def secret(stage: Stage) -> list[str]:
    """Look for the unit's secrets where they must not be, and try to read them as another user."""
    wrong = []
    names = stage.sh("ls /run/credentials/tokd.service").split()
    wrong += [f"the unit was given no {name}" for name in {"fernet-keys", "mqtt-password"} - set(names)]
    shown = stage.run("systemctl", "show", "tokd").stdout + stage.run("systemctl", "cat", "tokd").stdout
    files = stage.sh(f"cat {CONFIG}; cat /etc/tokd/credentials/* | tr -d '\\0'")
    environs = stage.sh("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'")
    everywhere = {
        "what systemctl shows": shown, "files": files, "the journal": stage.machine.journal(), "processes": environs,
    }  # fmt: skip
    for name in names:
        value = stage.run("tokd-secret", "--show", name).stdout.strip()
        wrong += [f"{name} is empty"] if not value else []
        wrong += [
            f"{name} stands in {place}" for place, text in everywhere.items() if value and value in text
        ]
    places = [f"{folder}/{name}" for folder in PRIVATE[:2] for name in names] + [PRIVATE[2]]
    for place in places:
        stage.sh(f"test -s {place}")
        other = stage.run(
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", place, check=False
        )
        if other.returncode == 0 or "Permission denied" not in other.stderr:
            wrong.append(f"another user can read {place}")
    return wrong
