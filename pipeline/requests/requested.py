"""What was asked of each run and still counts, in one small record: priority, end, hidden, note.

The training stage alone writes it. The queue and the table of runs read it.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts.ledger import Ledger, LedgerReader
from pipeline.data_folder import DataFolder
from pipeline.json_values import number_in, text_in
from pipeline.requests.request import Action

# A file's entry has this before its name, so that it is no run's key, which is hexadecimal.
FILE = "file "


@dataclass(frozen=True)
class Requested:
    """What was asked of one run; in the entry of a file, which one was carried out.

    end: cancel or stop, "" where the run is to be trained. done: the state of the file that was carried
    out. refused: why it was not.
    """

    priority: int = 0
    end: str = ""
    hidden: bool = False
    note: str = ""
    done: str = ""
    refused: str = ""

    @classmethod
    def of(cls, said: dict) -> "Requested":
        end = text_in(said, "end")
        return cls(
            int(number_in(said, "priority") or 0),
            end if end in (Action.CANCEL, Action.STOP) else "",
            said.get("hidden") is True,
            text_in(said, "note") or "",
            text_in(said, "done") or "",
            text_in(said, "refused") or "",
        )

    def as_plain(self) -> dict[str, object]:
        """What is not as if nothing were asked."""
        default = vars(NOTHING_ASKED)
        return {name: value for name, value in vars(self).items() if value != default[name]}


NOTHING_ASKED = Requested()


def requested_ledger(data: DataFolder) -> Ledger[Requested]:
    """For the training stage. A damaged one is kept aside: what was asked is told nowhere else."""
    return Ledger(data.requests_record, dict, Requested.of)


def requested_reader(data: DataFolder) -> LedgerReader[Requested]:
    return LedgerReader(data.requests_record, Requested.of)


class Priorities:
    """The priorities that were asked for, by the key of a run, where they are not 0."""

    def __init__(self, data: DataFolder):
        self._reader = requested_reader(data)
        self._priorities: dict[str, int] = {}

    def look(self) -> dict[str, int]:
        """As they are now: the same dict as before where nothing was asked."""
        if self._reader.look():
            asked = self._reader.entries
            self._priorities = {key: one.priority for key, one in asked.items() if one.priority}
        return self._priorities


def why_refused(data: DataFolder, request: Path) -> str:
    """Why the request in that file was refused; "" if it was not."""
    reader = requested_reader(data)
    reader.look()
    return reader.entries.get(FILE + request.name, NOTHING_ASKED).refused


def is_cancelled(asked: Requested, epochs_done: int) -> bool:
    """Whether a run that is not trained is not to be; one that was stopped is, as far as it got."""
    return asked.end == Action.CANCEL or (asked.end == Action.STOP and not epochs_done)
