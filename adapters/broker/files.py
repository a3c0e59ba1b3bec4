"""What the broker reads: its configuration, who may do what, and the passwords (mqtt.md sections 4 and 5)."""

import os
import secrets
from pathlib import Path

from daemon.domain.errors import AdapterFailed
from daemon.domain.ids import NAME

MAX_SOCKET_PATH = 107  # sun_path holds 108 bytes with the zero at its end
CLIENT_PROGRAMS = ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr")


def private_folder(path: Path) -> Path:
    """Return the folder, made and closed to everybody else."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read at any moment, in one step."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def check_name(user: str) -> str:
    """Return the name. Raises AdapterFailed: one with `+`, `#` or `/` would open other people's topics."""
    if not NAME.fullmatch(user):
        raise AdapterFailed(f"{user!r} cannot be a broker user: 1 to 64 of A-Z a-z 0-9 . _ -")
    return user


def kept_password(folder: Path, user: str) -> str:
    """Return the user's password: the one of earlier starts, or a new random one."""
    path = private_folder(folder / "passwords") / check_name(user)
    try:
        found = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        found = ""
    if not found:
        found = secrets.token_hex(24)
        write_private(path, f"{found}\n")
    return found


def socket_path(folder: Path) -> Path | None:
    """Return where the broker's Unix socket goes, None where the path would be too long for one."""
    path = folder / "mqtt.sock"
    return path if len(os.fsencode(path)) <= MAX_SOCKET_PATH else None


def config_text(folder: Path, port: int) -> str:
    """Return mosquitto's configuration. Loopback only, always; nobody without a password."""
    unix = socket_path(folder)
    lines = [
        "# written by tokd at every start; changes are lost",
        f"listener {port} 127.0.0.1",
        *([f"listener 0 {unix}"] if unix else []),
        "allow_anonymous false",
        f"password_file {folder / 'users'}",
        f"acl_file {folder / 'acl'}",
        "persistence true",
        f"persistence_location {folder / 'data'}/",
        "autosave_on_changes true",
        "autosave_interval 1",
        "set_tcp_nodelay true",
        f"max_packet_size {16 * 1024 * 1024}",  # as much as we take, to say `too_large`
        "max_queued_messages 10000",
        "sys_interval 0",
        "log_dest stderr",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S%z",
    ]
    if os.geteuid() == 0:
        lines.append("user root")  # it would become `mosquitto`, who cannot enter this folder
    return "\n".join(lines) + "\n"


def write_client_folder(folder: Path, user: str, password: str, host: str, port: int) -> Path:
    """Return a folder that, as XDG_CONFIG_HOME, makes mosquitto's own clients log in as this user."""
    home = private_folder(private_folder(folder / "clients") / check_name(user))
    text = f"--host {host}\n--port {port}\n--username {user}\n--pw {password}\n"
    for program in CLIENT_PROGRAMS:
        write_private(home / program, text)
    return home
