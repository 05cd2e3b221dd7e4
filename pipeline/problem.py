"""What is wrong with an input, or may spoil its results silently, as data: programs, the page and the
log all get it from one record.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import constants
from helper import UserError


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps an input from being used; as a warning, what spoils its results silently.

    kind: a word for programs, such as "missing" or "damaged"; the same for all of one sort.
    text: a sentence: what was found where, and what was expected.
    cure: a sentence: what to do; empty where `text` says it, or nothing can be done.
    split, file, row: where it is, as far as there is such a thing; `file` within the input's folder.
    count: how many images, classes or rows it is about.
    files: some of them, as examples.
    """

    kind: str
    text: str
    cure: str = ""
    split: str = ""
    file: str = ""
    row: int | None = None
    count: int = 1
    files: tuple[str, ...] = ()

    @classmethod
    def about(cls, kind: str, text: str, files: Sequence[str]) -> "Problem":
        """A warning about these files, of which it names a few."""
        return cls(kind, text, count=len(files), files=tuple(files[: constants.MOST_EXAMPLES]))

    def __str__(self) -> str:
        return f"{self.text} {self.cure}".strip()

    def as_plain(self) -> dict[str, Any]:
        """For JSON: what is not the same for all."""
        said = {name: value for name, value in asdict(self).items() if value not in ("", None, ())}
        return said | ({"files": list(self.files)} if self.files else {})


class RawDatasetError(UserError):
    """What is wrong with a raw dataset: its `problems`."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        super().__init__(" ".join(first_few(problems)))


def first_few(problems: Sequence[object]) -> list[str]:
    """The sentences of the first few, and how many more there are."""
    more = len(problems) - constants.MOST_PROBLEMS
    said = [str(problem) for problem in problems[: constants.MOST_PROBLEMS]]
    return said if more <= 0 else [*said, f"And {more:,} more."]
