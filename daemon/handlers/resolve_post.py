"""post/resolve: a person says what became of an uncertain post."""

from typing import Any

from daemon.domain.commands import ResolvePost
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.post import State, Trigger, advance
from daemon.handlers.attempt import end_attempt
from daemon.handlers.context import Context

TRIGGERS = {"published": Trigger.PUBLISH, "not_published": Trigger.FAIL, "post_again": Trigger.AGAIN}


def handle(command: ResolvePost, context: Context) -> dict[str, Any]:
    """Settle the post. Raises Rejected: already_final, bad_field where it is not uncertain."""
    post = context.require_post(command.post)
    if post.is_final:
        raise Rejected(Code.ALREADY_FINAL, f"post {post.id} is already {post.state}", field="args.post")
    if post.state is not State.UNCERTAIN:
        raise Rejected(
            Code.BAD_FIELD,
            f"post {post.id} is {post.state}, not uncertain: there is nothing to resolve",
            field="args.post",
        )
    actor = context.request.actor if context.request else ""
    who = command.by or actor
    changes: dict[str, Any] = {
        "wake_at": None,
        "reason": f"resolved_{command.outcome}",
        "detail": f"by {who}",
    }
    if command.outcome == "post_again":
        changes |= {
            "due_at": context.now,
            "wake_at": context.now,
            "tries": 0,
            "remote_tries": 0,
            "publish_id": None,
        }
    changed = advance(post, TRIGGERS[command.outcome], context.now, **changes)
    context.save(changed, EventType.POST_RESOLVED, outcome=command.outcome, by=who, actor=actor)
    end_attempt(context, changed, f"resolved {command.outcome}")
    context.wants_clock = True
    return {"post": post.id, "state": changed.state.value, "outcome": command.outcome, "by": who}
