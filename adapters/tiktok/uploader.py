"""TikTok as the core sees it: the PlatformUploader port, put together from the parts of this package."""

from collections.abc import Sequence
from typing import BinaryIO
from urllib.parse import quote

from adapters.tiktok import metadata, rules
from adapters.tiktok.oauth import OAuth, why_not_agreed
from adapters.tiktok.posting import PostingApi
from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.transport import Transport
from adapters.tiktok.upload import ChunkSender
from adapters.tiktok.webhooks import Webhooks
from daemon.domain.account import Creator, Tokens
from daemon.domain.errors import Problem
from daemon.domain.hints import Hint
from daemon.domain.media import MediaFacts, MediaLimits
from daemon.domain.platform import (
    ChunkAnswer,
    Endpoint,
    InitAnswer,
    InitRequest,
    Plan,
    PostOrder,
    Rate,
    StatusAnswer,
)  # fmt: skip
from daemon.domain.post import Description, Kind, Mode
from daemon.ports import Clock

_WINDOW_S = 60.0  # RL: a sliding minute


class TikTokUploader:
    """TikTok. Stateless but for one HTTP session a thread. What each method promises stands at the port."""

    name: str = "tiktok"

    def __init__(self, settings: TikTokSettings, clock: Clock) -> None:
        transport = Transport(settings)
        self._settings = settings
        self._posting = PostingApi(settings, transport, clock)
        self._chunks = ChunkSender(settings, transport, clock)
        self._oauth = OAuth(settings, transport, clock)
        self._webhooks = Webhooks(settings, clock)
        self.limits: MediaLimits = rules.LIMITS
        self.rates: dict[Endpoint, Rate] = {
            Endpoint.CREATOR: Rate(settings.creator_per_minute, _WINDOW_S),
            Endpoint.INIT: Rate(settings.init_per_minute, _WINDOW_S),
            Endpoint.STATUS: Rate(settings.status_per_minute, _WINDOW_S),
        }

    def is_configured(self) -> bool:
        """Tell whether the app's client key and secret are there."""
        return bool(self._settings.client_key and self._settings.client_secret)

    def advice_if_not_configured(self) -> str:
        """Return where the key and the secret come from and where they go."""
        return (
            "Register an app at https://developers.tiktok.com/apps/, then set tiktok.client_key and "
            "tiktok.client_secret_file."
        )

    def check_description(
        self, description: Description, mode: Mode, kind: Kind
    ) -> tuple[tuple[str, Problem], ...]:
        """Return what TikTok would refuse whoever the creator is. Pure."""
        return rules.check_description(description, mode, kind)

    def check_creator(
        self, creator: Creator, description: Description, mode: Mode, facts: MediaFacts | None
    ) -> tuple[tuple[str, Problem], ...]:
        """Return what this creator's settings forbid now. Pure."""
        return rules.check_creator(creator, description, mode, facts)

    def scope_for(self, mode: Mode) -> str:
        """Return the OAuth scope that the mode needs (DP, UP)."""
        return "video.publish" if mode is Mode.DIRECT else "video.upload"

    def prepare(self, order: PostOrder) -> InitRequest:
        """Return the init call for an order. Raises PlatformError(content) where there can be none. Pure."""
        return metadata.prepare(order, self._settings)

    def creator(self, access_token: str) -> Creator:
        """Read what the creator may do now."""
        return self._posting.creator(access_token)

    def init(self, access_token: str, request: InitRequest) -> InitAnswer:
        """Begin a post: sent once."""
        return self._posting.init(access_token, request)

    def send_chunk(
        self, upload_url: str, body: BinaryIO, plan: Plan, index: int, mime_type: str
    ) -> ChunkAnswer:
        """Send one chunk: sent once."""
        return self._chunks.send(upload_url, body, plan, index, mime_type)

    def status(self, access_token: str, publish_id: str) -> StatusAnswer:
        """Read how far a post is."""
        return self._posting.status(access_token, publish_id)

    def cancel(self, access_token: str, publish_id: str) -> None:
        """Ask to stop a post."""
        self._posting.cancel(access_token, publish_id)

    def exchange(self, code: str, redirect_uri: str, verifier: str | None) -> Tokens:
        """Turn an authorisation code into tokens."""
        return self._oauth.exchange(code, redirect_uri, verifier)

    def refresh(self, refresh_token: str) -> Tokens:
        """Renew a token pair."""
        return self._oauth.refresh(refresh_token)

    def revoke(self, access_token: str) -> None:
        """Give the tokens back."""
        self._oauth.revoke(access_token)

    @property
    def client_key(self) -> str:
        """Return the app's client key; empty where there is none."""
        return self._settings.client_key or ""

    def authorize_url(
        self, state: str, scopes: Sequence[str], redirect_uri: str, verifier: str | None = None,
        *, always_asks: bool = False,
    ) -> str:  # fmt: skip
        """Return the page on which a creator agrees. Pure."""
        return self._oauth.authorize_url(state, scopes, redirect_uri, verifier, always_asks=always_asks)

    def why_not_agreed(self, error: str) -> str:
        """Return what the error of a callback means. Pure."""
        return why_not_agreed(error)

    def read_hint(self, signatures: Sequence[str], body: bytes) -> Hint:
        """Return what a webhook of TikTok's says (ports.HintReader)."""
        return self._webhooks.read(signatures, body)

    def post_url(self, username: str, public_id: str, kind: Kind) -> str:
        """Return the public address of a post."""
        place = "photo" if kind is Kind.PHOTO else "video"
        handle = quote(username.lstrip("@"), safe="")
        return f"https://www.tiktok.com/@{handle}/{place}/{quote(public_id, safe='')}"
