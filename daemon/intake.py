"""What the bus does with a caller's message: answer a repeat, refuse what is unfit, store and execute the rest."""

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NoReturn

from daemon.domain import replies
from daemon.domain.account_commands import FinishLink
from daemon.domain.commands import VERBS
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import as_json
from daemon.domain.figures import Tally
from daemon.domain.gates import Buckets, check_open
from daemon.domain.ids import SELF_ACTOR, AccountName, Actor
from daemon.domain.restored import BEHIND_FLAG
from daemon.domain.safe_mode import BLIND_VERBS
from daemon.domain.wire import Request
from daemon.domain.work import Work
from daemon.handlers.auditing import is_own_question, is_strangers_knock, is_worth_noting, note
from daemon.handlers.context import Accepted, Context, Deferred, Rules
from daemon.handlers.finish_link import is_awaited
from daemon.handlers.registry import COMMANDS
from daemon.ports import Outgoing, StoredCommand

Answer = Callable[[dict[str, Any]], None]


@dataclass
class Batch:
    """What a transaction has decided and what waits for its commit."""

    outgoing: list[Outgoing] = field(default_factory=list)
    answers: list[tuple[Answer, dict[str, Any]]] = field(default_factory=list)
    settles: list[Callable[[], None]] = field(default_factory=list)
    results: list[tuple["Future[Any]", Any]] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    follow_ups: list[object] = field(default_factory=list)
    tallies: list[tuple[Tally, tuple[str, ...]]] = field(default_factory=list)
    waiting: list[tuple[int, Answer]] = field(default_factory=list)
    accepted: list[tuple[int, Actor]] = field(default_factory=list)
    done_rows: list[int] = field(default_factory=list)
    touched: set[AccountName] = field(default_factory=set)
    touches_daemon: bool = False
    has_commands: bool = False
    has_claims: bool = False


class RolledBack(Exception):
    """A handler refused after it had written: undo what it wrote, then answer with `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class Tried(Exception):
    """A dry run went through: undo all of it, then answer with `result`."""

    def __init__(self, result: Any) -> None:
        super().__init__("dry run")
        self.result = result


class Intake:
    """Executes commands inside the bus's transactions and builds their replies."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._waiting: dict[int, list[Answer]] = {}  # accepted commands whose callers wait in this process
        self._open: dict[int, Actor] = {}  # accepted commands that are not decided yet
        self._buckets = Buckets(rules.gates.rate_per_s, rules.gates.burst)
        self.is_draining = False

    def begin(self) -> None:
        """Begin a transaction."""
        self._buckets.begin()

    def undone(self) -> None:
        """Note that a transaction was rolled back, and that all that was in it will be taken once more."""
        self._buckets.undo()

    def take(self, request: Request, context: Context, batch: Batch) -> None:
        """Execute or refuse one message; its reply follows the commit. Raises RolledBack."""
        batch.has_commands = True
        if request.settle is not None:
            batch.settles.append(request.settle)
        verb = VERBS.get(request.verb)
        is_durable = verb is not None and verb.is_durable and request.error is None
        try:
            # A backlog is as long as we were away; whoever sent it once does not send it again.
            if not is_own_question(request) and not request.is_backlog:
                self._count(request, context)
            if request.error is not None:
                raise request.error
            self._rules.gates.check(request.actor, request.verb, request.transport)
            if is_durable and self._replay(request, context, batch):
                return
            self._refuse_unfit(request, context, batch, is_durable=is_durable)
        except Rejected as refusal:
            if is_worth_noting(request, refusal.code):
                note(request, replies.refused(refusal), context)
            reply = self.reply(request.id, request.verb, context.now, replies.refused(refusal))
            self._answer(request, reply, None, context, batch)
            return
        if is_durable:
            self._execute_durable(request, context, batch)
        else:
            self._execute_read(request, context, batch)

    def deliver_answers(self, context: Context, batch: Batch) -> None:
        """Answer commands that were accepted earlier and are decided now."""
        for stored, body in context.answers:
            reply = self.reply(stored.id, stored.verb, context.now, body)
            note(stored, body, context)
            context.unit.finish_command(stored.row, reply, context.now)
            batch.done_rows.append(stored.row)
            batch.answers.extend((answer, reply) for answer in self._waiting.get(stored.row, ()))
            if stored.reply_to:
                context.outgoing.append(
                    context.unit.add_reply(
                        stored.transport,
                        stored.reply_to,
                        as_json(reply),
                        stored.correlation,
                        None,
                        context.now,
                    )
                )
        context.answers.clear()
        for request, body in context.questions:
            if VERBS[request.verb].has_effect:
                note(request, body, context)
            reply = self.reply(request.id, request.verb, context.now, body)
            self._answer(request, reply, None, context, batch)
        context.questions.clear()

    def committed(self, batch: Batch) -> None:
        """Remember who waits for an accepted command, forget who has been answered."""
        for row, answer in batch.waiting:
            self._waiting.setdefault(row, []).append(answer)
        self._open.update(batch.accepted)
        for row in batch.done_rows:
            self._waiting.pop(row, None)
            self._open.pop(row, None)

    def resumed(self, commands: Iterable[StoredCommand]) -> None:
        """Remember the commands that were accepted before this process began."""
        self._open.update((stored.row, stored.actor) for stored in commands)

    def reply(
        self, command_id: str | None, verb: str, now: datetime, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the reply envelope around a status with its result or error."""
        return replies.build(command_id, verb, body, node=self._rules.node, boot=self._rules.boot, now=now)

    def redacted(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Return the reply without known secrets, for callers who are handed it as it is."""
        text = as_json(reply)
        clean = self._rules.redact(text)
        return reply if clean == text else json.loads(clean)

    def _count(self, request: Request, context: Context) -> None:
        """Count a message against its sender. Raises Rejected(rate_limited).

        The callback of a login is open to all and has one bucket for all: who comes with a state that counts is let
        through when strangers have emptied it. A state counts once, so there is nothing to flood with.
        """
        try:
            self._buckets.take(request.transport, request.actor, context.now)
        except Rejected:
            command = request.command
            if (
                request.actor != SELF_ACTOR
                or not isinstance(command, FinishLink)
                or not is_awaited(command, context)
            ):
                raise

    def _refuse_unfit(self, request: Request, context: Context, batch: Batch, *, is_durable: bool) -> None:
        if request.expires_at is not None and request.expires_at <= context.now:
            raise Rejected(Code.EXPIRED, f"{request.verb} came after its deadline; it was not carried out")
        if request.is_backlog and request.command is not None and request.command.acts_at_once:
            self._refuse_stale(request)
        self._refuse_unsafe(request, context)
        if is_durable:
            waiting = (*self._open.values(), *(actor for _, actor in batch.accepted))
            count = sum(actor == request.actor for actor in waiting)
            check_open(count, self._rules.gates, request.actor, request.transport)
        if is_durable and self.is_draining:
            raise Rejected(
                Code.SHUTTING_DOWN, "tokd is stopping; send it again with the same id", retryable=True
            )

    def _refuse_unsafe(self, request: Request, context: Context) -> None:
        """Refuse in safe mode every order, or all that needs a ledger; after a restore orders sent before it."""
        safe, is_order = self._rules.safe_mode, verb_has_effect(request)
        if safe is not None and (is_order or (safe.is_blind and request.verb not in BLIND_VERBS)):
            raise safe.refusal()
        if not is_order:
            return
        if request.is_backlog and context.unit.flag(BEHIND_FLAG) is not None:
            raise Rejected(
                Code.STALE_BACKLOG,
                f"{request.verb} was sent while tokd was away, and its ledger went back to an earlier state since: it may "
                "have been carried out already; look, then send it again",
            )

    @staticmethod
    def _refuse_stale(request: Request) -> None:
        if request.expires_at is None and not request.dry_run:
            raise Rejected(
                Code.STALE_BACKLOG,
                f"{request.verb} was sent while tokd was away and would act at once; send it again, or give it a deadline"
                ' ("ttl_s") within which it is still wanted',
            )

    def _replay(self, request: Request, context: Context, batch: Batch) -> bool:
        """Answer a repeat with the stored reply. Raises Rejected(id_conflict) for another body under the same id."""
        if request.id is None:
            return False
        stored = context.unit.find_command(request.actor, request.id)
        if stored is None:
            return False
        if stored.body_hash != request.body_hash:
            raise Rejected(
                Code.ID_CONFLICT,
                f"id {request.id} was used for another command; a new order needs a new id",
                field="id",
            )
        context.count(Tally.REPEATS)
        reply = stored.reply or self.reply(stored.id, stored.verb, context.now, {"status": "accepted"})
        self._answer(request, reply | {"replayed": True}, None, context, batch)
        if stored.reply is None and request.answer is not None:
            batch.waiting.append((stored.row, request.answer))
        return True

    def _execute_durable(self, request: Request, context: Context, batch: Batch) -> None:
        ids = self._rules.ids
        if request.dry_run and not VERBS[request.verb].runs_dry:
            self._try(request, context)
        command_id = request.id or f"~{ids.boot()}{ids.boot()}"  # "~" no caller can send
        outgoing, works = len(context.outgoing), len(context.works)
        context.request, context.stored, context.row, context.command_id = request, None, 0, command_id
        try:
            result = _handle(request, context)
        except Rejected as refusal:
            if len(context.outgoing) > outgoing or len(context.works) > works:
                raise RolledBack(refusal) from refusal
            body = replies.refused(refusal)
        else:
            if isinstance(result, Accepted):
                self._accept(request, command_id, result, context, batch)
                return
            body = {"status": "done", "result": result}
        note(request, body, context)
        reply = self.reply(request.id, request.verb, context.now, body)
        row = context.unit.add_command(request, command_id, reply)
        self._answer(request, reply, row, context, batch)

    def _try(self, request: Request, context: Context) -> NoReturn:
        """Run a command that knows no dry run of its own. Raises Tried or RolledBack: the transaction ends here."""
        context.request, context.stored, context.row = request, None, 0
        try:
            result = _handle(request, context)
        except Rejected as refusal:
            raise RolledBack(refusal) from refusal
        raise Tried({} if isinstance(result, Accepted) else result)

    def _accept(
        self, request: Request, command_id: str, accepted: Accepted, context: Context, batch: Batch
    ) -> None:
        row = context.unit.add_command(request, command_id)
        batch.accepted.append((row, request.actor))
        note(request, {"status": "accepted"}, context)
        context.start(replace(accepted.work, command=row))
        if request.answer is not None:
            batch.waiting.append((row, request.answer))
        reply = self.reply(command_id, request.verb, context.now, {"status": "accepted"})
        self._answer(request, reply, row, context, batch)

    def _execute_read(self, request: Request, context: Context, batch: Batch) -> None:
        context.request, context.stored, context.row = request, None, None
        try:
            result = _handle(request, context)
        except Rejected as refusal:
            body, is_knock = replies.refused(refusal), is_strangers_knock(request, refusal.code)
        else:
            is_knock = False
            if isinstance(result, Deferred) and self._rules.safe_mode is None:
                context.start(replace(result.work, request=request))
                return
            body = {"status": "done", "result": result}
            if isinstance(result, Deferred):
                body = replies.refused(
                    Rejected(
                        Code.SAFE_MODE, f"{request.verb} needs a worker; tokd is in safe mode and has none"
                    )
                )
        if VERBS[request.verb].has_effect and not is_knock:
            note(request, body, context)
        reply = self.reply(request.id, request.verb, context.now, body)
        self._answer(request, reply, None, context, batch)

    def _answer(
        self, request: Request, reply: dict[str, Any], row: int | None, context: Context, batch: Batch
    ) -> None:
        """Hand the reply to whoever waits: through the outbox with a command's effects, else directly."""
        if request.answer is not None:
            batch.answers.append((request.answer, reply))
        elif request.reply_to and row is not None:
            context.outgoing.append(
                context.unit.add_reply(
                    request.transport, request.reply_to, as_json(reply), request.correlation, request.expires_at,
                    context.now,
                )
            )  # fmt: skip
        elif request.reply_to:
            context.outgoing.append(direct_reply(request, reply, self._rules.redact))


def verb_has_effect(request: Request) -> bool:
    """Tell whether a message orders a change, so far as it can be read."""
    return request.error is None and request.verb in VERBS and VERBS[request.verb].has_effect


def direct_reply(request: Request, reply: dict[str, Any], redact: Callable[[str], str]) -> Outgoing:
    """Return a reply that is not stored: there is no effect that it could be lost with."""
    return Outgoing(
        row=0, transport=request.transport, kind="reply", address=request.reply_to, payload=redact(as_json(reply)),
        correlation=request.correlation, expires_at=request.expires_at,
    )  # fmt: skip


def _handle(request: Request, context: Context) -> Any:
    if request.command is None:
        raise Rejected(Code.INTERNAL, f"{request.verb} was not decoded")
    return COMMANDS[type(request.command)](request.command, context)
