"""The settings: one frozen model of everything that can be configured. Values come from `config.load`."""

import itertools
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from config.access_section import AccessSettings, AuditSettings
from config.homeassistant_section import HomeAssistantSettings
from config.http_section import HttpSettings
from config.media_section import MediaSettings
from config.sections import (
    DaemonSettings,
    Delay,
    Location,
    MqttSettings,
    MqttTlsSettings,
    Number,
    Section,
    TikTokSettings,
    Whole,
)
from config.session_section import SessionSettings

__all__ = [
    "AccessSettings",
    "AuditSettings",
    "BrokerSettings",
    "ControlSettings",
    "DaemonSettings",
    "HomeAssistantSettings",
    "HttpSettings",
    "LogSettings",
    "MediaSettings",
    "MqttSettings",
    "MqttTlsSettings",
    "PostsSettings",
    "SecretsSettings",
    "SessionSettings",
    "Settings",
    "SimulatorSettings",
    "TikTokSettings",
]

_DAY_S = 86_400
_DATABASE_PASSWORD = re.compile(r"://[^:/]*:(.+)@")


class PostsSettings(Section):
    """When posts run, are tried again, and are given up."""

    late_policy: Literal["post", "hold", "fail"] = Field(
        "hold", description="What to do with a post found late_after_s or more after its time."
    )
    late_after_s: Number = Field(
        3600, ge=0, le=30 * _DAY_S, description="Seconds after which a post is late."
    )
    retry_delays_s: tuple[Delay, ...] = Field(
        (5, 20, 60, 300, 900),
        max_length=50,
        description="Seconds to wait before each new try after a passing error; then it has failed.",
    )
    remote_retry_delays_s: tuple[Delay, ...] = Field(
        (600, 3600),
        max_length=50,
        description="Seconds to wait before each new try after TikTok failed internally.",
    )
    status_delays_s: tuple[Delay, ...] = Field(
        (2, 3, 5, 10, 15, 30),
        min_length=1,
        max_length=50,
        description="Seconds between questions for a post's status; the last one repeats.",
    )
    uncertain_after_s: Number = Field(
        1800,
        gt=0,
        le=30 * _DAY_S,
        description="Seconds without a final word after which a post is called uncertain.",
    )
    uncertain_steps: tuple[tuple[Delay, Delay], ...] = Field(
        ((60, 15), (1800, 60), (21_600, 300), (259_200, 1800)),
        min_length=1,
        max_length=50,
        description="[until, every]: up to so many seconds, ask every so many seconds; then give up.",
    )
    cap_hold_s: Number = Field(
        _DAY_S,
        gt=0,
        le=30 * _DAY_S,
        description="Seconds a post waits when the account's daily limit is reached.",
    )
    duplicate_window_s: Number = Field(
        _DAY_S,
        ge=0,
        le=365 * _DAY_S,
        description="Seconds in which the same post to the same account counts as a mistake.",
    )
    keep_days: Whole = Field(30, ge=1, le=3650, description="Days finished posts are kept.")
    lease_s: Number = Field(
        600, ge=1, le=_DAY_S, description="Seconds a claimed post belongs to its node without a sign of life."
    )

    @field_validator("uncertain_steps")
    @classmethod
    def _check_order(cls, value: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        limits = [until for until, _ in value]
        if any(later <= earlier for earlier, later in itertools.pairwise(limits)):
            raise ValueError("must be pairs [until, every] in growing order of until")
        return value


class SecretsSettings(Section):
    """The keys that protect tokens at rest."""

    key_file: Location | None = Field(
        None,
        examples=["/etc/tokd/fernet.keys"],
        description="File of the encryption keys, newest first; without it secrets/fernet.keys in state_dir.",
    )


class ControlSettings(Section):
    """The door for the command line."""

    socket: Location | None = Field(
        None,
        examples=["/run/tokd/control.sock"],
        description="Unix socket the command line speaks to; without it control.sock in state_dir.",
    )


class BrokerSettings(Section):
    """The broker that `tokd run --with-broker` starts."""

    port: Whole = Field(1883, ge=1, le=65535, description="TCP port on loopback.")
    command: str = Field("mosquitto", min_length=1, description="Program to start.")


class SimulatorSettings(Section):
    """The stand-in for TikTok that `tokd simulator` starts."""

    port: Whole = Field(0, ge=0, le=65535, description="TCP port on loopback; 0 takes a free one.")


class LogSettings(Section):
    """What is logged, and how it looks."""

    level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "info", description="Least important level that is logged."
    )
    format: Literal["auto", "console", "json", "journal"] = Field(
        "auto",
        description="Look of a line; auto is console on a terminal, journal where stderr is systemd's, else json.",
    )


class Settings(BaseSettings):
    """Everything that can be configured.

    `Settings()` is the bare defaults: it reads neither file nor environment, and its relative paths
    stay relative. `config.load.load` does the rest.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    daemon: DaemonSettings = Field(DaemonSettings(), description="The process itself.")
    mqtt: MqttSettings = Field(MqttSettings(), description="The broker, and how we speak with it.")
    tiktok: TikTokSettings = Field(TikTokSettings(), description="TikTok's API and our app there.")
    media: MediaSettings = Field(MediaSettings(), description="Where videos and photos may come from.")
    posts: PostsSettings = Field(
        PostsSettings(), description="When posts run, are tried again, are given up."
    )
    session: SessionSettings = Field(SessionSettings(), description="Browser sessions and their profiles.")
    secrets: SecretsSettings = Field(SecretsSettings(), description="The keys that protect tokens at rest.")
    control: ControlSettings = Field(ControlSettings(), description="The door for the command line.")
    http: HttpSettings = Field(HttpSettings(), description="The HTTP adapter: off unless it has a port.")
    access: AccessSettings = Field(AccessSettings(), description="Who may send which commands, and how many.")
    audit: AuditSettings = Field(
        AuditSettings(), description="The record of every order that changes something."
    )
    homeassistant: HomeAssistantSettings = Field(
        HomeAssistantSettings(), description="What Home Assistant is told, over the same broker."
    )
    broker: BrokerSettings = Field(
        BrokerSettings(), description="The broker `tokd run --with-broker` starts."
    )
    simulator: SimulatorSettings = Field(SimulatorSettings(), description="The stand-in for TikTok.")
    log: LogSettings = Field(LogSettings(), description="What is logged, and how it looks.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the name is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the constructor only: `config.load` merges the sources and knows their origins."""
        return (init_settings,)

    @property
    def state_dir(self) -> Path:
        """The folder of everything that must survive."""
        return self.daemon.state_dir

    @property
    def database_url_text(self) -> str:
        """The database address in clear text, with its password: for the engine, never for a log."""
        if self.daemon.database_url is not None:
            return self.daemon.database_url.get_secret_value()
        return f"sqlite:///{self.state_dir / 'tokd.db'}"

    @property
    def key_file(self) -> Path:
        """The file of the encryption keys."""
        return self.secrets.key_file or self.state_dir / "secrets" / "fernet.keys"

    @property
    def control_socket(self) -> Path:
        """The Unix socket of the command line."""
        return self.control.socket or self.state_dir / "control.sock"

    @property
    def jwt_key_file(self) -> Path:
        """The file of the key that signs tokens for HTTP."""
        return self.state_dir / "secrets" / "jwt.key"

    @property
    def redirect_uri(self) -> str | None:
        """Where TikTok sends a person back to: what is set, else our own HTTP; None where nobody would be there."""
        if self.tiktok.redirect_uri is not None or not self.http.port:
            return self.tiktok.redirect_uri
        if self.http.host not in {"127.0.0.1", "localhost", "0.0.0.0"}:  # noqa: S104 - a comparison
            return None
        return f"http://127.0.0.1:{self.http.port}/tiktok/callback"

    @property
    def upload_dir(self) -> Path | None:
        """The folder of what is uploaded or fetched; None where there is no media root."""
        return self.media.upload_dir or (self.media.roots[0] / "uploads" if self.media.roots else None)

    @property
    def clones_dir(self) -> Path:
        """The folder of the sessions' clones."""
        return self.session.clones_dir or self.session.user_data_master_dir / "clones"

    @property
    def mqtt_client_id(self) -> str:
        """The MQTT client id."""
        return self.mqtt.client_id or f"tokd-{self.daemon.node}"

    @property
    def secret_values(self) -> tuple[str, ...]:
        """Every configured secret in clear text, to be registered with the log's redactor at start."""
        url = self.daemon.database_url
        secrets: list[SecretStr | None] = [
            url,
            self.mqtt.password,
            self.tiktok.client_secret,
            self.session.proxy,
        ]
        found = [secret.get_secret_value() for secret in secrets if secret is not None]
        password = _DATABASE_PASSWORD.search(url.get_secret_value()) if url is not None else None
        return (*found, password.group(1)) if password else tuple(found)
