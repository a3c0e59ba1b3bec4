"""account/link: begin to link an account; the person goes on in a browser."""

from datetime import timedelta
from typing import Any

from daemon.domain.account_commands import LinkAccount
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import SELF_ACTOR, AccountName
from daemon.domain.linking import VERIFIER, Flow, PendingLink, flow_of, hash_of, new_state, new_verifier
from daemon.domain.times import iso
from daemon.handlers.context import Context
from daemon.handlers.linked import refuse_while_unlinking

DEFAULT_PLATFORM = "tiktok"
NO_ADDRESS = (
    "TikTok needs an address to send the person back to: set tiktok.redirect_uri, exactly as it is registered there, "
    "or http.port (not 0), which makes it http://127.0.0.1:<port>/tiktok/callback"
)


def handle(command: LinkAccount, context: Context) -> dict[str, Any]:
    """Return the address of TikTok's page. The state in it is kept as a hash only, the verifier sealed.

    Raises Rejected: not_configured, busy while the account is being unlinked, bad_field.
    """
    name = AccountName(command.account)
    old = context.unit.account(name)
    platform = context.platform(old.platform if old else DEFAULT_PLATFORM)
    refuse_while_unlinking(old)
    redirect_uri = context.policy.redirect_uri
    if redirect_uri is None:
        raise Rejected(Code.NOT_CONFIGURED, NO_ADDRESS)
    flow = flow_of(redirect_uri)
    if command.disable_auto_auth and flow is Flow.DESKTOP:
        raise Rejected(
            Code.BAD_FIELD, "TikTok has disable_auto_auth in the web flow only (an https address of a server)",
            field="args.disable_auto_auth",
        )  # fmt: skip
    scopes = command.scopes or context.policy.link_scopes
    expires_at = context.now + timedelta(seconds=context.policy.link_s)
    told = {
        "account": name, "expires_at": iso(expires_at), "redirect_uri": redirect_uri, "flow": flow.value,
        "scopes": list(scopes),
    }  # fmt: skip
    if context.request is not None and context.request.dry_run:
        return {"dry_run": True} | told
    state = new_state()
    verifier = new_verifier() if flow is Flow.DESKTOP else None
    context.unit.save_link(
        PendingLink(
            account=name,
            state_hash=hash_of(state),
            node=context.rules.node,
            actor=context.request.actor if context.request else SELF_ACTOR,
            platform=platform.name,
            client_key=platform.client_key,
            redirect_uri=redirect_uri,
            scopes=scopes,
            verifier=context.rules.vault.seal(VERIFIER, name, verifier) if verifier else None,
            created_at=context.now,
            expires_at=expires_at,
        )
    )
    auth_url = platform.authorize_url(
        state, scopes, redirect_uri, verifier, always_asks=command.disable_auto_auth
    )
    return told | {"auth_url": auth_url, "state": state}
