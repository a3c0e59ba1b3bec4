"""The pieces that several shapes share."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from daemon.domain.errors import Code
from daemon.domain.login import Doubt, Login

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Bytes = Annotated[int, Field(ge=0)]
CommandId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


class Effect(TypedDict):
    """What the result of an order with an effect may say besides."""

    dry_run: NotRequired[Literal[True]]


class OnlyTried(TypedDict):
    """The answer to a dry run of what would go on after its first answer."""

    dry_run: Literal[True]


class ProblemShape(TypedDict):
    """One thing that is wrong, and how to mend it."""

    code: str
    message: str
    hint: NotRequired[str]


class VerdictShape(TypedDict):
    """Whether a page is logged in, what decided it, and the evidence."""

    state: Login
    method: str
    evidence: list[str]
    ms: int
    reason: NotRequired[Doubt]
    username: NotRequired[str]


class ErrorShape(TypedDict):
    """Why an order was refused, or failed. `code` is one of a closed list."""

    code: Code
    message: str
    retryable: bool
    field: NotRequired[str]
    problems: NotRequired[list[ProblemShape]]
    retry_after_s: NotRequired[int]
    session: NotRequired[str]
    login: NotRequired[VerdictShape]


class Lateness(TypedDict):
    """What happens to a post whose time has passed by more than `after_s` seconds."""

    policy: Literal["post", "hold", "fail"]
    after_s: int


class Envelope(TypedDict, total=False):
    """A command. An empty payload is an empty object."""

    id: CommandId | None
    args: dict[str, Any]
    expires_at: Time | None
    ttl_s: Annotated[float, Field(gt=0, le=366 * 86400)] | None
    dry_run: bool
    reply_to: str | None


class CloudEvent(TypedDict):
    """A fact: CloudEvents 1.0 in structured JSON. `id` and `source` let a reader drop what it has seen."""

    specversion: Literal["1.0"]
    id: str
    sequence: Annotated[str, Field(pattern=r"^[0-9]{8,}$")]
    source: str
    type: str
    subject: str
    time: Time
    datacontenttype: Literal["application/json"]
    data: dict[str, Any]


class Reply(TypedDict):
    """An answer. `final` is false where the result comes later; `result` stands with `done` only."""

    id: str | None
    command: str
    status: Literal["accepted", "done", "rejected", "failed", "expired"]
    final: bool
    replayed: bool
    node: str
    boot: str
    time: Time
    result: NotRequired[dict[str, Any]]
    error: NotRequired[ErrorShape]
