"""Read the status of one post once."""

from daemon import failpoints
from daemon.domain.errors import PlatformError
from daemon.domain.post import Post
from daemon.domain.reports import StatusRead
from daemon.domain.work import Follow
from daemon.jobs.tools import Tools
from daemon.ports import PlatformUploader


def follow(work: Follow, tools: Tools, platform: PlatformUploader, post: Post) -> None:
    """Report what the platform says of the post, or why it could not be read."""
    publish_id = post.publish_id
    if publish_id is None:
        return
    failpoints.hit("status.before_call")
    try:
        answer = tools.tokens.call(platform, post.account, lambda token: platform.status(token, publish_id))
    except PlatformError as error:
        tools.bus.ask(StatusRead(work.post, work.fence, None, error))
        return
    failpoints.hit("status.after_call")
    tools.bus.ask(StatusRead(work.post, work.fence, answer))
    failpoints.hit("status.after_commit")
