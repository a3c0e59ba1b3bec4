"""What can be wrong with a configuration, told all at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ConfigProblem:
    """One mistake: where it stands (`tokd.toml:12`), what it is, and what to do. Never holds a value."""

    where: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"; {self.suggestion}" if self.suggestion else "")


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds every mistake found, in reading order."""

    def __init__(self, problems: list[ConfigProblem]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))
