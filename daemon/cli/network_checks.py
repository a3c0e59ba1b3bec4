"""The doctor's look outwards: the daemon, the broker, TikTok's API, the clock."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from adapters.control import ControlClient, ControlError, DaemonNotRunning
from config.settings import Settings
from daemon.cli.findings import Finding, fail, ok, warn

_WITHIN_S = 5.0
_PROBE_S = 10.0
_FIRST_YEAR, _LAST_YEAR = 2025, 2100


def check_network(settings: Settings) -> Iterator[Finding]:
    """Yield what is found about everything that tokd talks to."""
    health, finding = _daemon(settings)
    yield finding
    yield from _mqtt(settings, health)
    yield _http(settings, health)
    yield from _tiktok(settings, health)
    yield from _clock()


def _daemon(settings: Settings) -> tuple[dict[str, Any], Finding]:
    name = "daemon"
    try:
        client = ControlClient(settings.control_socket)
        reply = list(client.call("system/health", {}, _WITHIN_S))[-1]
    except DaemonNotRunning:
        return {}, warn(name, f"not running ({settings.control_socket})", "start it with `tokd run`")
    except ControlError as error:
        return {}, fail(name, str(error))
    health: dict[str, Any] = reply.get("result") or {}
    reasons = health.get("degraded")
    if reasons:
        return health, warn(name, f"running, degraded: {', '.join(map(str, reasons))}", "see `tokd health`")
    return health, ok(
        name, f"running, {health.get('phase', 'unknown')}, version {health.get('version', '?')}"
    )


def _http(settings: Settings, health: dict[str, Any]) -> Finding:
    name, port, host = "http", settings.http.port, settings.http.host
    if port is None:
        return ok(name, "off: http.port is not set")
    if (part := (health.get("parts") or {}).get("http")) is not None:
        return (
            ok(name, f"served at {part.get('url')}")
            if part.get("ok")
            else fail(name, "it has stopped serving")
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return fail(
                name, f"{host}:{port}: {(error.strerror or str(error)).lower()}", "choose another http.port"
            )
    return ok(name, f"{host}:{port} is free")


def _mqtt(settings: Settings, health: dict[str, Any]) -> Iterator[Finding]:
    if not settings.mqtt.is_enabled:
        part = (health.get("parts") or {}).get("mqtt")
        if part is None:
            yield ok("mqtt", "off: mqtt.host is not set; the command line works without it")
        elif part.get("ok"):
            yield ok("mqtt", "the daemon is connected to the broker it has started")
        else:
            yield fail(
                "mqtt", f"the daemon's own broker: {part.get('last_error')}", "see state/broker/mosquitto.log"
            )
        return
    from adapters.mqtt.probe import probe  # noqa: PLC0415 - only here paho is needed

    for found in probe(_probe_settings(settings), _PROBE_S):
        yield Finding(found.name, found.verdict, found.text, found.advice)


def _probe_settings(settings: Settings) -> Any:
    from adapters.mqtt.settings import MqttSettings, TlsSettings  # noqa: PLC0415

    mqtt, tls = settings.mqtt, settings.mqtt.tls
    return MqttSettings(
        node=settings.daemon.node, client_id=settings.mqtt_client_id, host=mqtt.host, port=mqtt.port,
        unix_socket=mqtt.unix_socket, username=mqtt.username,
        password=mqtt.password.get_secret_value() if mqtt.password else None,
        prefix=mqtt.prefix, protocol=mqtt.protocol, keepalive_s=mqtt.keepalive_s,
        tls=TlsSettings(enabled=tls.enabled, ca_file=tls.ca_file, cert_file=tls.cert_file,
                        key_file=tls.key_file, verify=tls.verify),
    )  # fmt: skip


def _tiktok(settings: Settings, health: dict[str, Any]) -> Iterator[Finding]:
    found = settings.tiktok
    missing = [name for name in ("client_key", "client_secret") if getattr(found, name) is None]
    if missing:
        is_simulated = "simulator" in (health.get("parts") or {})
        advice = "set them in [tiktok] (client_secret_file for the secret), or try `tokd run --simulate`"
        names = " and ".join(f"tiktok.{name}" for name in missing)
        text = f"{names} not set: posting answers not_configured"
        yield ok("tiktok app", "simulated") if is_simulated else warn("tiktok app", text, advice)
    else:
        yield ok("tiktok app", f"client key {found.client_key}")
    parts = urlsplit(found.api_base)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), _WITHIN_S).close()
        yield ok("tiktok api", f"{parts.hostname}:{port} accepts connections")
    except OSError as error:
        yield warn(
            "tiktok api",
            f"{parts.hostname}:{port}: {error.strerror or error}",
            "check the network and tiktok.api_base",
        )


def _clock() -> Iterator[Finding]:
    now = datetime.now(UTC)
    if not _FIRST_YEAR <= now.year <= _LAST_YEAR:
        yield fail("clock", f"it shows {now:%Y-%m-%d %H:%M} UTC", "set it: posts go out by this clock")
        return
    synchronised = _is_synchronised()
    if synchronised is False:
        yield warn("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, not synchronised", "timedatectl set-ntp true")
    else:
        word = "synchronised" if synchronised else "whether it is synchronised is not known here"
        yield ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, {word}")


def _is_synchronised() -> bool | None:
    program = shutil.which("timedatectl")
    if program is None:
        return None
    try:
        found = subprocess.run(
            [program, "show", "-p", "NTPSynchronized", "--value"],
            capture_output=True, text=True, timeout=_WITHIN_S, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return {"yes": True, "no": False}.get(found.stdout.strip())
