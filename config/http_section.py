"""The section of the HTTP adapter: every key with its type, bounds, default and one sentence."""

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from config.addresses import check_address
from config.sections import Flag, HostName, Location, Number, Section, Whole

_ALLOWED_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")


def _check_allowed_host(name: str) -> str:
    if not _ALLOWED_HOST.fullmatch(name) or name.isdigit():
        raise ValueError("must be a host name or an address, without scheme, port, brackets and path")
    return name.lower()


def _check_origin(origin: str) -> str:
    check_address(origin)
    parts = urlsplit(origin)
    if parts.path or origin != origin.lower():
        raise ValueError("must be an origin in lower case, like https://app.example.com, without a path")
    return origin


AllowedHost = Annotated[str, AfterValidator(_check_allowed_host)]
Origin = Annotated[str, AfterValidator(_check_origin)]


class HttpSettings(Section):
    """The HTTP adapter: off unless it has a port."""

    port: Whole | None = Field(
        None,
        ge=0,
        le=65535,
        examples=[8080],
        description="TCP port; 0 takes a free one. Without it there is no HTTP.",
    )
    host: HostName = Field("127.0.0.1", description="Address to listen on.")
    allowed_hosts: tuple[AllowedHost, ...] = Field(
        (),
        max_length=50,
        description="Names under which tokd may be called besides this machine's own (the Host header).",
    )
    cors_origins: tuple[Origin, ...] = Field(
        (), max_length=50, description="Origins of the pages that may call tokd from a browser."
    )
    metrics_need_token: Flag = Field(True, description="Ask for a token at /metrics, too.")
    jwks_file: Location | None = Field(
        None,
        examples=["jwks.json"],
        description="Public keys (RS256, ES256) of another issuer, whose tokens then count instead of tokd's own.",
    )
    jwt_issuer: str | None = Field(
        None,
        min_length=1,
        examples=["https://login.example.com"],
        description="What a token of jwks_file must name as iss.",
    )
    jwt_audience: str | None = Field(
        None, min_length=1, examples=["tokd"], description="What a token of jwks_file must name as aud."
    )
    header_timeout_s: Number = Field(
        10, ge=0.1, le=300, description="Seconds in which a request's head must have come."
    )
    body_max: Whole = Field(65536, ge=1024, le=65536, description="Bytes a request's body may have.")

    @model_validator(mode="after")
    def _check_issuer(self) -> Self:
        if self.jwks_file is None and (self.jwt_issuer or self.jwt_audience):
            raise ValueError("jwt_issuer and jwt_audience belong to jwks_file: set it, too")
        return self
