"""The sections of the settings: every key with its type, bounds, default and one sentence."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    Strict,
    StringConstraints,
    field_validator,
    model_validator,
)

from config.addresses import (
    check_address,
    check_host,
    check_host_pattern,
    check_prefix,
    check_redirect,
)

_DAY_S = 86_400
_YEAR_S = 365 * _DAY_S
_LONGEST_PREFIX = 128
_DATABASE_URL = re.compile(r"(sqlite:///|postgresql\+psycopg://).+")


def _refuse_empty_path(value: object) -> object:
    if value == "" or (isinstance(value, str) and "\0" in value):
        raise ValueError("must be a path, not an empty text")
    return value


def _refuse_control_characters(secret: SecretStr) -> SecretStr:
    # A newline in a header value makes http.client quote the whole secret in its exception.
    text = secret.get_secret_value()
    if not text or any(character < " " or character == "\x7f" for character in text):
        raise ValueError("must be one line of text, not empty and without control characters")
    return secret


def _check_prefix_topic(prefix: str) -> str:
    levels = prefix.split("/")
    if any(not level or re.search(r"[+#\s\x00-\x1f\x7f]", level) for level in levels):
        raise ValueError('must be topic levels like "tokd" or "home/tokd": none empty, no wildcard, no space')
    if prefix.startswith("$") or prefix.endswith("$") or len(prefix) > _LONGEST_PREFIX:
        raise ValueError(f'must not begin or end with "$" nor exceed {_LONGEST_PREFIX} characters')
    return prefix


# Strict: a TOML file says what it means, so true is no number and "5" no 5.
# Texts from the environment are converted before they get here (config/sources.py).
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
Location = Annotated[Path, BeforeValidator(_refuse_empty_path)]
Secret = Annotated[SecretStr, AfterValidator(_refuse_control_characters)]
Address = Annotated[str, AfterValidator(check_address)]
HostName = Annotated[str, AfterValidator(check_host)]
Scope = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._]{0,63}$")]
HostPattern = Annotated[str, AfterValidator(check_host_pattern)]
UrlPrefix = Annotated[str, AfterValidator(check_prefix)]
Delay = Annotated[float, Strict(), Field(gt=0, le=30 * _DAY_S)]


class Section(BaseModel):
    """A frozen table of settings; unknown keys are refused, values never appear in error texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class DaemonSettings(Section):
    """The process itself."""

    node: str = Field(
        "main",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="Name of this node in topics and claims; unique per broker and database.",
    )
    state_dir: Location = Field(
        Path("./state"),
        description="Folder of the database, the keys and the control socket; only tokd may read it.",
    )
    workers: Whole = Field(4, ge=1, le=64, description="How many posts are worked on at the same time.")
    safe_mode_starts: Whole = Field(
        3,
        ge=0,
        le=100,
        description="So many unclean starts in a row, and the next one is in safe mode; 0 is never.",
    )
    safe_mode_within_s: Number = Field(
        600, gt=0, le=_DAY_S, description="Seconds within which those starts must have been."
    )
    failpoint: str | None = Field(
        None,
        json_schema_extra={"hidden": True},
        description="Where to crash on purpose, for tokd's own crash tests.",
    )
    database_url: Secret | None = Field(
        None,
        examples=["postgresql+psycopg://tokd@/tokd"],
        description="Database address; without it an SQLite file tokd.db in state_dir.",
    )
    database_url_file: Location | None = Field(
        None,
        examples=["/run/secrets/tokd-database"],
        description="File holding database_url, for addresses with a password.",
    )

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _DATABASE_URL.fullmatch(value.get_secret_value()):
            raise ValueError("must begin with postgresql+psycopg:// or sqlite:///")
        return value

    @field_validator("state_dir")
    @classmethod
    def _check_state_dir(cls, value: Path) -> Path:
        if "?" in str(value):
            raise ValueError('must not contain "?", which would cut the SQLite address short')
        return value


class MqttTlsSettings(Section):
    """Encryption towards the broker."""

    enabled: Flag = Field(False, description="Speak TLS with the broker.")
    ca_file: Location | None = Field(
        None, examples=["ca.pem"], description="Certificates to trust; without it the system's."
    )
    cert_file: Location | None = Field(None, examples=["client.pem"], description="Our client certificate.")
    key_file: Location | None = Field(None, examples=["client.key"], description="Key of cert_file.")
    verify: Flag = Field(True, description="Check the broker's certificate; false is shown as an alert.")

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: set both or none")
        return self


class MqttSettings(Section):
    """The broker, and how we speak with it."""

    host: HostName | None = Field(
        None,
        examples=["127.0.0.1"],
        description="Broker's host name or IP address; without it and unix_socket MQTT is off.",
    )
    port: Whole = Field(1883, ge=1, le=65535, description="Broker's TCP port; 8883 is usual with TLS.")
    unix_socket: Location | None = Field(
        None,
        examples=["/run/mosquitto/mqtt.sock"],
        description="Broker's Unix socket, instead of host and port.",
    )
    username: str | None = Field(
        None, min_length=1, examples=["tokd-main"], description="User name at the broker."
    )
    password: Secret | None = Field(
        None,
        examples=["…"],
        description="Password at the broker; better in TOKD_MQTT__PASSWORD or password_file.",
    )
    password_file: Location | None = Field(
        None,
        examples=["mqtt-password"],
        description="File holding the password in one line, readable by its owner only.",
    )
    prefix: Annotated[str, AfterValidator(_check_prefix_topic)] = Field(
        "tokd", description="First level or levels of every topic."
    )
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        "auto", description="MQTT version; auto tries 5 and falls back to 3.1.1."
    )
    client_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._:-]{1,64}$",
        examples=["tokd-main"],
        description="MQTT client id; without it tokd-<node>.",
    )
    keepalive_s: Whole = Field(30, ge=5, le=65535, description="Seconds between signs of life to the broker.")
    session_expiry_s: Whole = Field(
        _DAY_S, ge=0, le=_YEAR_S, description="Seconds the broker keeps commands for us while we are away."
    )
    will_delay_s: Whole = Field(
        10, ge=0, le=_DAY_S, description="Seconds the broker waits before it says we are offline."
    )
    tls: MqttTlsSettings = Field(MqttTlsSettings(), description="Encryption towards the broker.")

    @field_validator("protocol", mode="before")
    @classmethod
    def _accept_number(cls, value: object) -> object:
        return "5" if type(value) is int and value == 5 else value  # noqa: PLR2004 - MQTT 5, written 5

    @model_validator(mode="after")
    def _check_one_door(self) -> Self:
        if self.host is not None and self.unix_socket is not None:
            raise ValueError("set host or unix_socket, not both")
        return self

    @property
    def is_enabled(self) -> bool:
        """Whether a broker is configured at all."""
        return self.host is not None or self.unix_socket is not None


class TikTokSettings(Section):
    """TikTok's API and our app there."""

    api_base: Address = Field(
        "https://open.tiktokapis.com",
        description="Address of the API; http for the simulator on this machine only.",
    )
    authorize_url: Address = Field(
        "https://www.tiktok.com/v2/auth/authorize/", description="Page on which a person gives consent."
    )
    upload_hosts: tuple[HostPattern, ...] = Field(
        ("open-upload.tiktokapis.com", "upload.us.tiktokapis.com", "upload.*.tiktokapis.com"),
        min_length=1,
        description='Hosts that may receive the bytes of a video; "*" stands for one part of the name.',
    )
    client_key: str | None = Field(
        None, min_length=1, examples=["aw0123456789"], description="Client key of our app; not a secret."
    )
    client_secret: Secret | None = Field(
        None,
        examples=["…"],
        description="Client secret of our app; better in TOKD_TIKTOK__CLIENT_SECRET or client_secret_file.",
    )
    client_secret_file: Location | None = Field(
        None,
        examples=["tiktok-client-secret"],
        description="File holding the client secret in one line, readable by its owner only.",
    )
    redirect_uri: Annotated[str, AfterValidator(check_redirect)] | None = Field(
        None,
        examples=["http://127.0.0.1:8765/tiktok/callback"],
        description="Address TikTok sends a person back to, exactly as registered there; "
        "without it http://127.0.0.1:<http.port>/tiktok/callback.",
    )
    scopes: tuple[Scope, ...] = Field(
        ("user.info.basic", "video.publish", "video.upload"),
        min_length=1,
        max_length=20,
        description="What a person is asked to allow; the app must have each of them.",
    )
    link_timeout_s: Number = Field(
        600, ge=60, le=3600, description="Seconds a person has to agree after `tokd account link`."
    )
    connect_timeout_s: Number = Field(5, gt=0, le=120, description="Seconds to wait for a connection.")
    read_timeout_s: Number = Field(60, gt=0, le=600, description="Seconds to wait for the next byte.")
    call_deadline_s: Number = Field(120, gt=0, le=3600, description="Seconds one call may take altogether.")
    refresh_margin_s: Number = Field(
        2700, ge=0, le=_DAY_S // 2, description="Seconds before its end at which an access token is renewed."
    )
    single_chunk_max: Whole = Field(
        64_000_000, ge=5_000_000, le=64_000_000, description="Bytes up to which a video is sent in one piece."
    )
    chunk_size: Whole = Field(
        10_000_000,
        ge=5_000_000,
        le=64_000_000,
        description="Bytes of each piece of a larger video; at most half of single_chunk_max.",
    )
    file_size_max: Whole = Field(
        4_000_000_000, ge=1, le=4 * 1024**3, description="Bytes of the largest video."
    )
    rate_creator_per_min: Whole = Field(
        20, ge=1, le=600, description="creator_info calls per minute and account."
    )
    rate_init_per_min: Whole = Field(6, ge=1, le=600, description="init calls per minute and account.")
    rate_status_per_min: Whole = Field(30, ge=1, le=600, description="status calls per minute and account.")

    webhook_max_age_s: Whole = Field(
        300,
        ge=1,
        le=3 * _DAY_S,
        description="Seconds by which the time in a webhook's signature may differ from this machine's clock.",
    )

    @field_validator("api_base")
    @classmethod
    def _drop_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _check_chunks(self) -> Self:
        # Otherwise a file just above single_chunk_max would be one chunk larger than its chunk_size,
        # which TikTok is not known to accept.
        if 2 * self.chunk_size > self.single_chunk_max:
            raise ValueError("chunk_size must be at most half of single_chunk_max")
        return self
