"""What a handler works with: the transaction, the rules, and the effects that wait for the commit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from daemon.domain.access import may_touch
from daemon.domain.account import Account, Login
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import Event, EventType, as_json
from daemon.domain.figures import Figures, Tally
from daemon.domain.gates import Gates
from daemon.domain.ids import AccountName, NodeName, PostId
from daemon.domain.policy import Policy
from daemon.domain.post import Post
from daemon.domain.reports import IntroductionDue
from daemon.domain.safe_mode import SafeMode
from daemon.domain.task import NEWS, Task, follow
from daemon.domain.task_views import post_status
from daemon.domain.views import account_view, needs_login_alert, post_view
from daemon.domain.wire import Request
from daemon.domain.work import (
    AskSession,
    Browse,
    ExchangeCode,
    FetchMedia,
    InspectAccount,
    InspectMedia,
    SurveyProfiles,
    UnlinkTokens,
    Withdraw,
    Work,
)  # fmt: skip
from daemon.handlers.standing import remember, standing
from daemon.ports import (
    Gate,
    Ids,
    Introducer,
    MediaProbe,
    Outgoing,
    PlatformUploader,
    StoredCommand,
    Unit,
    Vault,
)  # fmt: skip

PAUSED_FLAG = "paused"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What stays the same for every handler: rules, platforms and the core's own names."""

    node: NodeName
    boot: str
    version: str
    started_at: datetime
    policy: Policy
    platforms: Mapping[str, PlatformUploader]
    media: MediaProbe
    vault: Vault
    ids: Ids
    random: Callable[[], float]
    health: Callable[[], dict[str, Any]]
    has_broker: bool
    gates: Gates = field(default_factory=Gates)
    gate: Gate | None = None
    introducer: Introducer | None = None  # another system on the broker is told what tokd is
    redact: Callable[[str], str] = str  # takes known secrets out of what leaves the core
    figures: Figures = field(default_factory=Figures)
    safe_mode: SafeMode | None = None  # why nothing may be done: every order is refused
    set_log_level: Callable[[str, float | None], None] = lambda _level, _for_s: None


@dataclass(frozen=True)
class Accepted:
    """A command whose result comes later; `work` finds it out. Its `command` is set when the row is known."""

    work: InspectMedia | FetchMedia | Withdraw | Browse | UnlinkTokens


@dataclass(frozen=True)
class Deferred:
    """A question whose answer takes longer than the bus may wait. Its `request` is set by the intake."""

    work: AskSession | SurveyProfiles | ExchangeCode | InspectAccount


@dataclass(kw_only=True)
class Context:
    """One handler's view of one transaction. Effects collected here happen after the commit, in order."""

    unit: Unit
    now: datetime
    rules: Rules
    driving: frozenset[PostId] = frozenset()
    request: Request | None = None
    stored: StoredCommand | None = None
    command_id: str = ""  # the order's own name, given or made up
    row: int | None = None  # of a command that is being answered later; 0 while it is first executed
    outgoing: list[Outgoing] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    answers: list[tuple[StoredCommand, dict[str, Any]]] = field(default_factory=list)
    questions: list[tuple[Request, dict[str, Any]]] = field(default_factory=list)  # answered, not stored
    follow_ups: list[object] = field(default_factory=list)  # reports to the bus itself
    tallies: list[tuple[Tally, tuple[str, ...]]] = field(default_factory=list)
    rings_at: datetime | None = None  # the clock must ring then, too
    wants_clock: bool = False  # something may have become due
    # Whose retained state tells of something that has changed. It is told a little later, once for many changes.
    touched: set[AccountName] = field(default_factory=set)
    touches_daemon: bool = False

    @property
    def policy(self) -> Policy:
        """Return the house rules."""
        return self.rules.policy

    def emit(self, kind: EventType, subject: str, data: dict[str, Any]) -> None:
        """Store an event in the outbox."""
        self.outgoing.append(self.unit.add_event(Event(kind, subject, self.now, data)))

    def save(self, post: Post, event: EventType | None = None, **data: Any) -> Post:
        """Store a changed post, its retained state and, where something has happened, the event that tells it.

        Raises StaleAttempt where somebody else has changed the post meanwhile.
        """
        if self.rules.has_broker and not post.retained:
            post = replace(post, retained=True)
        self.unit.save_post(post)
        self.tell_post(post, event, **data)
        return post

    def add(self, post: Post, event: EventType, **data: Any) -> Post:
        """Store a new post and tell it."""
        post = replace(post, retained=self.rules.has_broker)
        self.unit.add_post(post)
        self.tell_post(post, event, is_first=True, **data)
        return post

    def tell_post(self, post: Post, event: EventType | None, *, is_first: bool = False, **data: Any) -> None:
        """Publish a post's state, and the event if there is one."""
        if self.rules.has_broker:
            self.publish_state(f"post/{post.id}", post_view(post), is_first=is_first)
        if event is not None:
            told = {
                "account": post.account,
                "post": post.id,
                "state": post.state.value,
                "attempt": post.attempt,
            }
            reasons = {"reason": post.reason, "detail": post.detail} if post.reason else {}
            command = {"command_id": post.command_id}
            self.emit(event, f"post/{post.id}", told | reasons | data | command)
            remember(post, event, self.unit)
            self.touch(post.account)
            if post.task is not None and event in NEWS:
                self._tell_task_of(post, event, is_first=is_first)

    def _tell_task_of(self, post: Post, event: EventType, *, is_first: bool) -> None:
        """Let a post's task follow it, in the same transaction; a new post is the task's own from here on."""
        found = self.unit.task(post.task, lock=True) if post.task is not None else None
        if found is None:
            return
        followed = follow(replace(found, post=post.id) if is_first else found, post, event, self.now)
        if followed == found:
            return
        self.unit.save_task(followed)
        told = {"post": post.id, "tiktok_post_status": post_status(post).value, "state": post.state.value}
        more = {"publish_id": post.publish_id, "url": post.url, "reason": post.reason}
        self.emit(
            EventType.TASK_POSTED if is_first else EventType.TASK_UPDATED,
            f"task/{followed.id}",
            self.task_facts(followed) | told | {name: value for name, value in more.items() if value},
        )

    @staticmethod
    def task_facts(task: Task) -> dict[str, Any]:
        """Return what every event about a task says; what the task has made is its owner's business."""
        return {
            "task": task.id, "user": task.user, "instance_id": task.instance_id, "status": task.status.value,
        }  # fmt: skip

    def publish_state(self, path: str, view: dict[str, Any] | None, *, is_first: bool = False) -> None:
        """Store a retained state in the outbox; None clears it."""
        if self.rules.has_broker:
            payload = "" if view is None else as_json(view)
            self.outgoing.append(self.unit.add_state(path, payload, self.now, is_first=is_first))

    def save_account(self, account: Account, event: EventType | None = None, **data: Any) -> None:
        """Store a changed account, its retained state, its alert where that changes, and its event."""
        before = self.unit.account(account.name)
        self.unit.save_account(account)
        self.publish_account(account)
        if (before is not None and before.login is Login.NEEDS_LOGIN) or account.login is Login.NEEDS_LOGIN:
            self.publish_alert(account)
        self.touches_daemon = self.rules.has_broker
        self.introduce_later()
        if event is not None:
            told = {"account": account.name, "login": account.login.value, "enabled": account.enabled}
            self.emit(event, f"account/{account.name}", told | data)

    def publish_account(self, account: Account) -> None:
        """Publish an account's retained state; none of one that is unlinked."""
        is_linked = account.login is not Login.UNLINKED
        self.publish_state(f"account/{account.name}", self.view_account(account) if is_linked else None)

    def publish_alert(self, account: Account) -> None:
        """Raise or clear the alert of an account that needs a login (mqtt.md section 7.1: empty = solved)."""
        alert = needs_login_alert(account) if account.login is Login.NEEDS_LOGIN else None
        self.publish_state(f"alert/needs_login_{account.name}", alert)

    def publish_safe_mode(self) -> None:
        """Raise the alert of safe mode, or clear it."""
        safe = self.rules.safe_mode
        self.publish_state("alert/safe_mode", safe.as_alert() if safe is not None else None)

    def view_account(self, account: Account) -> dict[str, Any]:
        """Return an account as everybody may see it, with the login state of its browser profile."""
        seen = [found for found in self.unit.sightings().values() if found.account == account.name]
        newest = max(seen, key=lambda found: found.seen_at, default=None)
        more = standing(account, newest, self.unit, self.policy.sessions)
        return account_view(account, self.now, newest) | more

    def touch(self, account: AccountName) -> None:
        """Have an account's retained state told again soon; a broker that is joined later gets it anyway."""
        if self.rules.has_broker:
            self.touched.add(account)

    def introduce_later(self) -> None:
        """Have other systems told what has changed of what tokd consists of."""
        if self.rules.introducer is not None:
            self.follow_ups.append(IntroductionDue())

    def count(self, what: Tally, *labels: str) -> None:
        """Count this once it is committed."""
        self.tallies.append((what, labels))

    def start(self, work: Work) -> None:
        """Start work after the commit."""
        self.works.append(work)

    def finish(self, command: StoredCommand, reply: dict[str, Any]) -> None:
        """Answer a command that was accepted earlier."""
        self.answers.append((command, reply))

    def ring_at(self, at: datetime | None) -> None:
        """Let the clock ring at this time, too: cheaper than `wants_clock`, which reads all times again."""
        if at is not None and (self.rings_at is None or at < self.rings_at):
            self.rings_at = at

    def answer(self, request: Request, body: dict[str, Any]) -> None:
        """Answer a question that was deferred."""
        self.questions.append((request, body))

    def is_paused(self) -> bool:
        """Tell whether a person has stopped the posting."""
        return self.unit.flag(PAUSED_FLAG) is not None

    def require_post(self, post_id: str) -> Post:
        """Return the post. Raises Rejected: no_such_post, forbidden where it is another user's."""
        post = self.unit.post(PostId(post_id))
        if post is None:
            raise Rejected(
                Code.NO_SUCH_POST, f"there is no post {post_id}; post/list shows them", field="args.post"
            )
        if not self.may_touch(post.consent.actor):
            raise Rejected(Code.FORBIDDEN, f"post {post_id} belongs to another user", field="args.post")
        return post

    def may_touch(self, owner: str) -> bool:
        """Tell whether the caller, if there is one, may see and change what `owner` has ordered."""
        return self.request is None or may_touch(owner, self.request.actor)

    def require_account(self, name: str) -> Account:
        """Return the account, which is linked. Raises Rejected(no_such_account)."""
        account = self.find_account(name)
        if account.login is Login.UNLINKED:
            raise Rejected(
                Code.NO_SUCH_ACCOUNT,
                f"account {name} was unlinked; link it again with `tokd account link {name}`",
                field="args.account",
            )
        return account

    def find_account(self, name: str) -> Account:
        """Return the account, linked or not any more. Raises Rejected(no_such_account)."""
        account = self.unit.account(AccountName(name))
        if account is None:
            linked = (found.name for found in self.unit.accounts() if found.login is not Login.UNLINKED)
            known = ", ".join(sorted(linked)[:10]) or "none is linked yet"
            raise Rejected(
                Code.NO_SUCH_ACCOUNT,
                f"there is no account {name!r} (known: {known}); link it with `tokd account link {name}`",
                field="args.account",
            )
        return account

    def platform(self, name: str) -> PlatformUploader:
        """Return the platform. Raises Rejected(not_configured) where its credentials are missing."""
        platform = self.rules.platforms[name]
        if not platform.is_configured():
            raise Rejected(Code.NOT_CONFIGURED, platform.advice_if_not_configured())
        return platform

    def mark_needs_login(self, name: AccountName, detail: str) -> None:
        """Note that an account's tokens are dead; its posts will be held when they are due."""
        account = self.unit.account(name)
        if account is not None and account.login is Login.OK:
            changed = replace(account, login=Login.NEEDS_LOGIN, detail=detail, refresh_node=None)
            self.save_account(changed, EventType.ACCOUNT_NEEDS_LOGIN, detail=detail)

    def disable_account(self, name: AccountName, detail: str) -> None:
        """Note that the platform has shut this account out of posting."""
        account = self.unit.account(name, lock=True)
        if account is not None and account.enabled:
            changed = replace(account, enabled=False, detail=detail)
            self.save_account(changed, EventType.ACCOUNT_DISABLED, detail=detail)
