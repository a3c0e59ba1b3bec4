"""The posting endpoints: creator_info, init, status and cancel (CI, DP, UP, PH, ST, MT)."""

import json
import re
from collections.abc import Mapping
from typing import Any

from adapters.tiktok import errors
from adapters.tiktok.addresses import may_upload_to
from adapters.tiktok.answers import accept, count, public_ids
from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.transport import Call, Transport
from daemon.domain.account import Creator
from daemon.domain.errors import Fault, PlatformError
from daemon.domain.platform import InitAnswer, InitRequest, StatusAnswer, Verdict
from daemon.ports import Clock

CREATOR = "/v2/post/publish/creator_info/query/"
STATUS = "/v2/post/publish/status/fetch/"
CANCEL = "/v2/post/publish/cancel/"

_VERDICTS = {
    "SEND_TO_USER_INBOX": Verdict.SENT_TO_INBOX,
    "PUBLISH_COMPLETE": Verdict.PUBLISHED,
    "FAILED": Verdict.FAILED,
}  # ST; PROCESSING_UPLOAD, PROCESSING_DOWNLOAD and words nobody has documented are pending
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_PUBLISH_ID_MAX = 64  # DP
_UPLOAD_URL_S = 3600  # DP: valid for one hour


class PostingApi:
    """Each method is one call, sent once."""

    def __init__(self, settings: TikTokSettings, transport: Transport, clock: Clock) -> None:
        self._settings = settings
        self._transport = transport
        self._clock = clock

    def creator(self, access_token: str) -> Creator:
        """Read what the creator may do now. A lost answer is transient: it is only a read."""
        data = self._read(CREATOR, access_token, "{}")
        options = data.get("privacy_level_options")
        if not isinstance(options, list):
            raise PlatformError(
                Fault.TRANSIENT, "bad_answer", f"POST {CREATOR}: privacy_level_options missing"
            )
        return Creator(
            username=str(data.get("creator_username") or ""),
            nickname=str(data.get("creator_nickname") or ""),
            privacy_options=tuple(option for option in options if isinstance(option, str)),
            comment_disabled=data.get("comment_disabled") is True,
            duet_disabled=data.get("duet_disabled") is True,
            stitch_disabled=data.get("stitch_disabled") is True,
            duration_max_s=count(data.get("max_video_post_duration_sec")) or 0,
        )

    def init(self, access_token: str, request: InitRequest) -> InitAnswer:
        """Send the prepared body once. Whatever leaves the outcome open is unknown_outcome: the core decides.

        Raises PlatformError(content, "upload_host_refused") where the bytes would go to an unknown host.
        """
        label = f"POST {request.endpoint}"
        data = self._change(request.endpoint, access_token, request.body)
        publish_id = data.get("publish_id")
        if not isinstance(publish_id, str) or not 0 < len(publish_id) <= _PUBLISH_ID_MAX:
            raise PlatformError(Fault.UNKNOWN_OUTCOME, "bad_answer", f"{label}: success without a publish_id")
        if request.plan is None:
            return InitAnswer(publish_id=publish_id)
        upload_url = data.get("upload_url")
        if not isinstance(upload_url, str) or not upload_url:
            raise PlatformError(
                Fault.UNKNOWN_OUTCOME, "bad_answer", f"{label}: success without an upload_url"
            )
        check_upload_url(upload_url, self._settings)
        return InitAnswer(publish_id=publish_id, upload_url=upload_url, upload_url_seconds=_UPLOAD_URL_S)

    def status(self, access_token: str, publish_id: str) -> StatusAnswer:
        """Read how far a post is. An unknown word is pending; a lost answer is transient, as for any read."""
        data = self._read(STATUS, access_token, _compact({"publish_id": publish_id}))
        raw = data.get("status")
        raw = raw if isinstance(raw, str) else ""
        verdict = _VERDICTS.get(raw, Verdict.PENDING)
        ids = data.get("publicaly_available_post_id", data.get("publicly_available_post_id"))
        stored = count(data.get("uploaded_bytes"))
        if verdict is not Verdict.FAILED:
            return StatusAnswer(verdict=verdict, raw=raw, public_ids=public_ids(ids), stored_bytes=stored)
        reason = data.get("fail_reason")
        code = reason if isinstance(reason, str) and re.fullmatch(r"\w{1,64}", reason) else "unnamed"
        meaning = errors.find(code, errors.fail_reasons()) or errors.unknown(code)
        return StatusAnswer(
            verdict=verdict,
            raw=raw,
            fail_code=code,
            fail_fault=meaning.fault,
            fail_advice=meaning.advice,
            public_ids=public_ids(ids),
            stored_bytes=stored,
        )

    def cancel(self, access_token: str, publish_id: str) -> None:
        """Ask to stop a post; success has no data (MT). Whether it was stopped only the status tells."""
        self._change(CANCEL, access_token, _compact({"publish_id": publish_id}))

    def _read(self, path: str, token: str, body: str) -> Mapping[str, Any]:
        return self._call(path, token, body, is_read=True)

    def _change(self, path: str, token: str, body: str) -> Mapping[str, Any]:
        return self._call(path, token, body, is_read=False)

    def _call(self, path: str, token: str, body: str, *, is_read: bool) -> Mapping[str, Any]:
        label = f"POST {path}"
        if not _VISIBLE.fullmatch(token):
            # A line break in a header would make the driver put the whole token into its exception.
            raise PlatformError(Fault.AUTH, "access_token_invalid", f"{label}: the stored token is malformed")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=UTF-8"}
        call = Call(
            method="POST",
            url=self._settings.api_base.rstrip("/") + path,
            label=label,
            headers=headers,
            body=body.encode(),
            # A new connection for a change: a reset on one that the server had closed meanwhile would leave
            # it open whether it was carried out, while a failure to connect proves that it was not.
            is_fresh=not is_read,
            lost=Fault.TRANSIENT if is_read else Fault.UNKNOWN_OUTCOME,
        )
        return accept(self._transport.send(call), call, self._clock, token)


def check_upload_url(url: str, settings: TikTokSettings) -> None:
    """Raise PlatformError(content, "upload_host_refused") unless media may be sent there."""
    if not may_upload_to(url, settings.upload_hosts, settings.api_base):
        raise PlatformError(
            Fault.CONTENT,
            "upload_host_refused",
            "TikTok's answer points the upload to a host that is not in tiktok.upload_hosts",
            advice="If TikTok has a new upload host, add it to tiktok.upload_hosts. Nothing was sent.",
        )


def _compact(value: dict[str, str]) -> str:
    return json.dumps(value, separators=(",", ":"))
