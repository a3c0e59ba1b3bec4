"""The section of the browser sessions: every key with its type, bounds, default and one sentence."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from config.sections import Address, Flag, Location, Number, Secret, Section, Whole

_DAY_S = 86_400
_PROFILE = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$"
_PAIR = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}=[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$"
# Switches by which a session would no longer be what tokd says it is, and why.
_REFUSED = {
    "tokd chooses the profile": ("--user-data-dir", "--profile-directory", "--incognito", "--guest"),
    "the browser would delete cookies it cannot read; see session.password_store": ("--password-store",),
    "a page that breaks out of the browser would have all of your rights": (
        "--no-sandbox", "--disable-setuid-sandbox", "--disable-seccomp", "--disable-namespace-sandbox",
        "--single-process", "--no-zygote", "--disable-gpu-sandbox", "--in-process-gpu", "--disable-site-isolation",
        "--renderer-cmd-prefix", "--utility-cmd-prefix", "--gpu-launcher", "--browser-subprocess-path",
    ),
    "another server could pass for TikTok and take the session": (
        "--ignore-certificate-errors", "--allow-running-insecure-content",
    ),
    "every page could read your files": ("--allow-file-access",),
    "the session's secrets would be written to a file": ("--ssl-key-log-file", "--log-net-log", "--net-log"),
    "whoever reaches a debugging port has the whole session": ("--remote-debugging", "--remote-allow-origins"),
    "every page could read every other, and act as you there": ("--disable-web-security",),
    "session.proxy sets it": ("--proxy",),
    "tokd knows its own browsers by such a switch": ("--tokd-",),
}  # fmt: skip
# --disable-features takes some of them away, too.
_KEPT_FEATURES = re.compile(r"isolat|site-per-process|sandbox", re.IGNORECASE)
_PROXY = re.compile(r"(https?|socks[45])://[A-Za-z0-9.\[\]:-]+:\d{1,5}")


def _names_poison(argument: str) -> bool:
    return "headless" in argument or "lang" in argument


class SessionSettings(Section):
    """Browser sessions: the person's profiles, their clones, and how a login state is read."""

    user_data_master_dir: Location = Field(
        Path("./user_data"),
        description="Folder of the browser profiles: master/, further ones beside it, and clones/ of the sessions.",
    )
    clones_dir: Location | None = Field(
        None,
        examples=["/var/lib/tokd/clones"],
        description='Folder of the clones; without it clones/ beside the profiles. "headless" and "lang" must not '
        "occur in its path, and it should be on the profiles' file system.",
    )
    profile: str = Field("master", pattern=_PROFILE, description="Profile of a session that names none.")
    accounts: tuple[Annotated[str, StringConstraints(pattern=_PAIR)], ...] = Field(
        (),
        max_length=100,
        examples=[["master=shop"]],
        description="Which account a profile is logged in as, as profile=account; without it, its name or the page tells.",
    )
    tiktok_url: Address = Field("https://www.tiktok.com/", description="Page that a TikTok session opens.")
    profile_backups: Whole = Field(
        5,
        ge=0,
        le=1000,
        description="How many of the newest backups of a replaced profile, and of refused clones, are kept; 0: all.",
    )
    max_session_duration: Whole = Field(
        300, ge=1, le=_DAY_S, description="Seconds a window stays open, unless the command says otherwise."
    )
    login_duration: Whole = Field(
        1800, ge=1, le=_DAY_S, description="Seconds the window of a profile's login stays open."
    )
    ending_soon_s: Number = Field(
        60,
        ge=0,
        le=3600,
        description="Seconds before its end a session is warned of it, a shorter one as it opens; 0 never.",
    )
    creation_timeout: Number = Field(
        30, gt=0, le=600, description="Seconds a session may take until it is open."
    )
    login_detection_timeout: Number = Field(
        8, gt=0, le=120, description="Seconds to find out whether the page is logged in."
    )
    login_detection_retries: Whole = Field(
        1,
        ge=0,
        le=5,
        description="How often the page is loaded again within that time where it tells nothing.",
    )
    login_negative_grace: Number = Field(
        2, ge=0, le=60, description='Seconds a lone sign of "logged out" must last to be believed.'
    )
    cookie_absent_decides: Flag = Field(
        False, description="Call a page logged out as soon as the login cookie is missing."
    )
    on_uncertain: Literal["close", "keep"] = Field(
        "close", description="What becomes of a window whose login state nobody can tell."
    )
    login_markers_file: Location | None = Field(
        None,
        examples=["login_markers.toml"],
        description="File whose keys replace those of the built-in login markers (see `tokd config markers`).",
    )
    headless: Flag = Field(False, description="Open no window. Nobody can browse then; for checks only.")
    write_mode: Flag = Field(
        False, description="Open the profile itself, for logging in, instead of a clone of it."
    )
    allow_live: Flag = Field(
        False, description="Clone a profile that a browser has open; its newest cookies may be missing."
    )
    max_concurrent: Whole = Field(
        4, ge=1, le=32, description="How many sessions may be open at the same time."
    )
    min_free_mb: Whole = Field(
        500, ge=0, le=10_000_000, description="Megabytes that must be free on the clones' disk."
    )
    backend: Literal["undetected", "selenium"] = Field(
        "undetected",
        description="Library that drives the browser: undetected-chromedriver or Selenium alone.",
    )
    browser_path: Location | None = Field(
        None,
        examples=["/usr/bin/chromium"],
        description="Browser; without it the first of chromium, google-chrome.",
    )
    driver_path: Location | None = Field(
        None, examples=["/usr/bin/chromedriver"], description="Its chromedriver; without it, the one in PATH."
    )
    browser_args: tuple[str, ...] = Field((), max_length=50, description="Further arguments for the browser.")
    display: str | None = Field(
        None,
        min_length=1,
        examples=[":0"],
        description="X display of the windows; without it that of tokd itself.",
    )
    password_store: Literal["detect", "basic", "gnome-libsecret", "kwallet5", "kwallet6"] = Field(
        "detect",
        description="Where the browser's cookie key is; detect uses the desktop's keyring where the profile needs it.",
    )
    proxy: Secret | None = Field(
        None,
        examples=["socks5://127.0.0.1:1080"],
        description="Proxy for the browser: scheme://host:port. Shown nowhere; its command line is wiped once it runs.",
    )
    proxy_file: Location | None = Field(
        None, examples=["/run/secrets/tokd-proxy"], description="File holding proxy in one line."
    )

    @field_validator("browser_args")
    @classmethod
    def _check_args(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for argument in value:
            # undetected-chromedriver reads a switch, or a profile to write in, out of any argument with these words.
            # A bare "--" would end the switches, and with them the profile's.
            if not argument[2:].strip() or not argument.startswith("--") or _names_poison(argument):
                raise ValueError(
                    'must be switches such as "--mute-audio"; "headless" is a setting, "lang" is not possible'
                )
            for reason, prefixes in _REFUSED.items():
                if argument.lower().startswith(prefixes):
                    raise ValueError(f"must not hold {argument.partition('=')[0]}: {reason}")
            if argument.lower().startswith("--disable-features") and _KEPT_FEATURES.search(argument):
                raise ValueError(
                    "must not hold --disable-features with what keeps pages apart or in their sandbox"
                )
        return value

    @field_validator("proxy")
    @classmethod
    def _check_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _PROXY.fullmatch(value.get_secret_value()):
            raise ValueError(
                "must be scheme://host:port with http, https, socks4 or socks5, without a user name: "
                "Chromium takes none"
            )
        if value is not None and _names_poison(value.get_secret_value()):
            raise ValueError(
                'must not hold "headless" or "lang": undetected-chromedriver takes that for a switch of its own, '
                "and would go without the proxy; name it by its address or another name"
            )
        return value

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.login_detection_timeout > self.creation_timeout:
            raise ValueError("login_detection_timeout must not exceed creation_timeout")
        return self
