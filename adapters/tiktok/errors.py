"""What TikTok's codes mean: the class of each (posts-and-schedulers.md 4.5) and what a person should do."""

from dataclasses import dataclass

from daemon.domain.errors import Fault

DP = "https://developers.tiktok.com/doc/content-posting-api-reference-direct-post"
UP = "https://developers.tiktok.com/doc/content-posting-api-reference-upload-video"
PH = "https://developers.tiktok.com/doc/content-posting-api-reference-photo-post"
CI = "https://developers.tiktok.com/doc/content-posting-api-reference-query-creator-info"
ST = "https://developers.tiktok.com/doc/content-posting-api-reference-get-video-status"
MT = "https://developers.tiktok.com/doc/content-posting-api-media-transfer-guide"
OE = "https://developers.tiktok.com/doc/oauth-error-handling"
EH = "https://developers.tiktok.com/doc/tiktok-api-v2-error-handling"
FIELD = "seen on the wire, in no page of TikTok's"


@dataclass(frozen=True, slots=True)
class Meaning:
    """One code: how the core must treat it, what the person should do, and which page says that it exists."""

    code: str
    fault: Fault
    advice: str
    source: str


_LINK = "Link the account again: tokd account link."
_TOMORROW = "Wait until the 24 hours have passed, or post from the TikTok app."
_BANNED = "TikTok does not let this account post. Open the TikTok app and see what it says."
_REQUEST = "TikTok refuses the request as it is. Read the message, correct the post and schedule it anew."

# An id that TikTok does not know, or not for this token, says nothing about what became of the post. Nor
# does a refused cancel. So these three are `unknown_outcome`: nothing is repeated, reads or a person decide.
_API = (
    Meaning("invalid_param", Fault.CONTENT, _REQUEST, DP),
    Meaning("invalid_params", Fault.CONTENT, _REQUEST, FIELD),
    Meaning(
        "app_version_check_failed",
        Fault.CONTENT,
        "The creator must update the TikTok app to 31.8 or later before photo drafts can be sent.",
        PH,
    ),
    Meaning(
        "invalid_publish_id",
        Fault.UNKNOWN_OUTCOME,
        "TikTok does not know this upload (any more). Look in the TikTok app whether the post is there.",
        ST,
    ),
    Meaning(
        "token_not_authorized_for_specified_publish_id",
        Fault.UNKNOWN_OUTCOME,
        "The post was made with another account's login. Link that account again.",
        ST,
    ),
    Meaning(
        "publish_not_cancellable",
        Fault.UNKNOWN_OUTCOME,
        "It is too late to cancel: the post's status tells how it ends.",
        MT,
    ),
    Meaning("access_token_invalid", Fault.AUTH, _LINK, DP),
    Meaning(
        "scope_not_authorized",
        Fault.SCOPE,
        "Link the account again and allow posting; the app needs the scope too.",
        DP,
    ),
    Meaning("scope_permission_missed", Fault.SCOPE, "Link the account again and allow every item.", EH),
    Meaning("invalid_file_upload", Fault.CONTENT, "Check the file with: tokd media check.", EH),
    Meaning("spam_risk_too_many_posts", Fault.CAP, _TOMORROW, DP),
    Meaning("spam_risk_user_banned_from_posting", Fault.BANNED, _BANNED, DP),
    Meaning(
        "spam_risk_too_many_pending_share",
        Fault.CAP,
        "Finish or delete the drafts in the TikTok inbox: five in 24 hours are the limit.",
        UP,
    ),
    Meaning(
        "reached_active_user_cap",
        Fault.CAP,
        "The app (not this account) has used up its posting users of the day. Wait 24 hours.",
        DP,
    ),
    Meaning(
        "unaudited_client_can_only_post_to_private_accounts",
        Fault.AUDIT,
        "The app is not audited: set the ACCOUNT to private in the TikTok app, or send posts to the inbox.",
        DP,
    ),
    Meaning(
        "url_ownership_unverified",
        Fault.CONTENT,
        "Verify the address's domain or prefix under URL properties in TikTok's developer portal.",
        DP,
    ),
    Meaning(
        "privacy_level_option_mismatch",
        Fault.AUDIT,
        "Choose one of the privacy options that the account offers now: tokd account show.",
        DP,
    ),
    Meaning("rate_limit_exceeded", Fault.RATE, "Nothing to do: tokd waits for the minute to pass.", DP),
    Meaning("internal_error", Fault.UNKNOWN_OUTCOME, "TikTok failed inside. Nothing to do yet.", EH),
)

_CONVERT = "Correct the file and schedule it anew; tokd media check names what is wrong."
_FAILED = (
    Meaning("file_format_check_failed", Fault.CONTENT, f"Use MP4 with H.264. {_CONVERT}", ST),
    Meaning("duration_check_failed", Fault.CONTENT, f"The length is not allowed. {_CONVERT}", ST),
    Meaning("frame_rate_check_failed", Fault.CONTENT, f"Use 23 to 60 frames a second. {_CONVERT}", ST),
    Meaning("picture_size_check_failed", Fault.CONTENT, f"Each side must be 360 to 4096. {_CONVERT}", ST),
    Meaning("internal", Fault.REMOTE_INTERNAL, "TikTok failed inside and asks for a new attempt.", ST),
    Meaning("video_pull_failed", Fault.REMOTE_PULL, "Check that the address can be fetched quickly.", ST),
    Meaning("photo_pull_failed", Fault.REMOTE_PULL, "Check that every address can be fetched.", ST),
    Meaning("publish_cancelled", Fault.CANCELLED, "The post was cancelled.", ST),
    Meaning("auth_removed", Fault.AUTH, f"The creator has removed the app's access. {_LINK}", ST),
    Meaning("spam_risk_too_many_posts", Fault.CAP, _TOMORROW, ST),
    Meaning("spam_risk_user_banned_from_posting", Fault.BANNED, _BANNED, ST),
    Meaning("spam_risk_text", Fault.CONTENT, "TikTok takes the text for spam. Rewrite it.", ST),
    Meaning("spam_risk", Fault.CONTENT, "TikTok takes the post for spam. Do not send it again.", ST),
)

_CLIENT = "Check the client key and secret, and the app's redirect addresses and scopes in TikTok's portal."
# A wrong client key or secret is the app's fault and leaves every token as it was: transient, or one typing
# error in the configuration would make every account ask for a new login.
_OAUTH = (
    Meaning("access_denied", Fault.AUTH, "The creator did not agree. Link again and agree.", OE),
    Meaning("invalid_client", Fault.TRANSIENT, _CLIENT, OE),
    Meaning("invalid_grant", Fault.AUTH, _LINK, OE),
    Meaning("invalid_request", Fault.CONTENT, _CLIENT, OE),
    Meaning("invalid_scope", Fault.SCOPE, _CLIENT, OE),
    Meaning("unauthorized_client", Fault.TRANSIENT, _CLIENT, OE),
    Meaning("unsupported_grant_type", Fault.CONTENT, _CLIENT, OE),
    Meaning("unsupported_response_type", Fault.CONTENT, _CLIENT, OE),
    Meaning("server_error", Fault.TRANSIENT, "TikTok failed inside. Nothing to do yet.", OE),
    Meaning("temporarily_unavailable", Fault.TRANSIENT, "Nothing to do: tokd tries again.", OE),
)

_UNKNOWN = "TikTok answers with a code that tokd does not know. Please report it with the message."


def api_codes() -> tuple[Meaning, ...]:
    """Return every code that a posting endpoint can answer."""
    return _API


def fail_reasons() -> tuple[Meaning, ...]:
    """Return every reason that a status FAILED can carry."""
    return _FAILED


def oauth_codes() -> tuple[Meaning, ...]:
    """Return every error that a login endpoint can answer."""
    return _OAUTH


def find(code: str, table: tuple[Meaning, ...]) -> Meaning | None:
    """Return the meaning of `code`, or None where the table has none."""
    return next((meaning for meaning in table if meaning.code == code), None)


def unknown(code: str) -> Meaning:
    """Return the meaning of a code that no table has."""
    return Meaning(code, Fault.UNKNOWN_CODE, _UNKNOWN, FIELD)
