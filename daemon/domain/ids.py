"""Names of things, as types of their own so that one cannot stand where another belongs."""

import re
from typing import NewType

PostId = NewType("PostId", str)
AccountName = NewType("AccountName", str)
Actor = NewType("Actor", str)
NodeName = NewType("NodeName", str)
TaskId = NewType("TaskId", str)
SessionId = NewType("SessionId", str)
ProfileName = NewType("ProfileName", str)

# mqtt.md section 5, rule 6. The same alphabet is safe as an MQTT topic level and as a file name.
COMMAND_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")

SELF_ACTOR = Actor("_self")
LOCAL_ACTOR = Actor("local")
