"""The PUT of one chunk to the upload address (MT section on media transfer)."""

from typing import BinaryIO

from adapters.tiktok.answers import retry_after, stored_bytes
from adapters.tiktok.posting import check_upload_url
from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.transport import Answer, Call, ExactBody, Transport
from daemon.domain.errors import Fault, PlatformError, UploadUrlDead
from daemon.domain.platform import ChunkAnswer, Plan
from daemon.ports import Clock

_OK, _CREATED, _PARTIAL = 200, 201, 206
_DEAD = {403: "upload_url_expired", 404: "upload_task_missing"}
_REFUSED = {
    400: (Fault.CONTENT, "bad_chunk"),
    416: (Fault.TRANSIENT, "range_mismatch"),
    429: (Fault.RATE, "rate_limit_exceeded"),
}


class ChunkSender:
    """Sends chunks, each once, from any thread."""

    def __init__(self, settings: TikTokSettings, transport: Transport, clock: Clock) -> None:
        self._settings = settings
        self._transport = transport
        self._clock = clock

    def send(self, upload_url: str, body: BinaryIO, plan: Plan, index: int, mime_type: str) -> ChunkAnswer:
        """Send chunk `index`; `body` gives exactly its bytes.

        Raises UploadUrlDead (403, 404) and PlatformError: `connection_lost`, transient for every chunk but
        the last, unknown_outcome for the last one, whose arrival may publish; `_refusal` has the rest.
        """
        check_upload_url(upload_url, self._settings)
        first, last = plan.span(index)
        label = f"PUT chunk {index + 1} of {plan.count}"
        is_last = index == plan.count - 1
        headers = {
            "Content-Type": mime_type,
            "Content-Length": str(last - first + 1),
            "Content-Range": f"bytes {first}-{last}/{plan.size}",
        }
        call = Call(
            method="PUT",
            url=upload_url,
            label=label,
            headers=headers,
            body=ExactBody(body, last - first + 1),
            is_fresh=is_last,  # as for init: a stale connection would leave the outcome open for nothing
            lost=Fault.UNKNOWN_OUTCOME if is_last else Fault.TRANSIENT,
            lost_code="connection_lost",
        )
        answer = self._transport.send(call)
        if answer.status == _CREATED or (answer.status == _OK and is_last):
            return ChunkAnswer(plan.size, is_complete=True)
        if answer.status in {_PARTIAL, _OK}:
            told = stored_bytes(answer.headers.get("Content-Range"), plan)
            return ChunkAnswer(told, is_complete=False)
        raise self._refusal(answer, label)

    def _refusal(self, answer: Answer, label: str) -> PlatformError:
        status = answer.status
        message = f"{label}: HTTP {status}"
        if status in _DEAD:
            return UploadUrlDead(Fault.TRANSIENT, _DEAD[status], message, status=status)
        if status >= 500:  # noqa: PLR2004 - the official answer is to send the same chunk again
            return PlatformError(Fault.TRANSIENT, "upload_host_error", message, status=status)
        fault, code = _REFUSED.get(status, (Fault.UNKNOWN_CODE, f"http_{status}"))
        if 300 <= status < 400:  # noqa: PLR2004
            code = "redirect_refused"
        wait = retry_after(answer, self._clock) if fault is Fault.RATE else None
        return PlatformError(fault, code, message, status=status, retry_after_s=wait)
