"""What a stage has finished or failed at; true after a crash, and noticed when damaged.

The record of a stage is one small pickle, written whole after each change, *after* the result that
it speaks of. So a crash between the two leaves a result with no entry: the stage looks once more,
finds the result and enters it. The results carry descriptions of their own, so a record that was
lost or damaged is put together again from what is on disk.

The entries are in it as JSON text, which is fast: ten thousand are rewritten in milliseconds.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from pickletools import genops
from typing import Generic, TypeVar

import constants
from helper import UnusableFile, flush_folder, read_file, sha256_of, shown, whole_file
from pipeline.artifacts import safe_pickle
from pipeline.data_folder import FileState, state_of

log = logging.getLogger(__name__)

MOST_STEPS = 20  # that a pickle machine takes to read a record; it takes half as many
SEPARATOR = ",\n"  # of two entries; JSON writes the end of a line within a text otherwise
Entry = TypeVar("Entry")


class Ledger(Generic[Entry]):
    """The record at `path`: `entries` maps a key (a digest or a name) to what `of` makes of an entry.

    `rebuild` returns the entries that can be told from the results on disk. An entry is a dict of
    plain values.
    """

    def __init__(
        self,
        path: Path,
        rebuild: Callable[[], dict[str, dict]],
        of: Callable[[dict], Entry] = dict,  # type: ignore[assignment]  # Entry is dict then
    ):
        self.path, self.of = path, of
        self.entries: dict[str, Entry] = {}
        self._texts: dict[str, str] = {}
        self._noted = False
        self._load(rebuild)

    def record(self, key: str, **entry: object) -> None:
        """Enter what became of `key` and write the record; on an OSError the entry does not count."""
        entries = {**self.entries, key: self.of(entry)}
        self._replace(entries, {**self._texts, key: _text(key, entry)})

    def note(self, key: str, **entry: object) -> None:
        """Enter what became of `key`; `save` writes it, with all others that were noted."""
        self.entries[key], self._texts[key] = self.of(entry), _text(key, entry)
        self._noted = True

    def save(self) -> None:
        """Write the record, if something was noted that is not in it."""
        if self._noted:
            self._replace(self.entries, self._texts)

    def forget(self, *keys: str) -> None:
        if any(key in self.entries for key in keys):
            left = [key for key in self.entries if key not in keys]
            self._replace(
                {key: self.entries[key] for key in left}, {key: self._texts[key] for key in left}
            )

    def _replace(self, entries: dict[str, Entry], texts: dict[str, str]) -> None:
        with whole_file(self.path) as file:
            file.write(_framed(texts.values()))
        self.entries, self._texts, self._noted = entries, texts, False

    def _load(self, rebuild: Callable[[], dict[str, dict]]) -> None:
        try:
            self._know(_read(self.path))
        except FileNotFoundError:
            self._rebuild(rebuild)
        except (safe_pickle.PickleError, UnusableFile) as error:
            damaged = isinstance(error, safe_pickle.PickleError)
            # What is no file has no content to be named after.
            what = sha256_of(self.path)[:8] if damaged else f"{self.path.lstat().st_ino:08x}"
            aside = self.path.with_name(f"{self.path.stem}.damaged-{what}")
            self.path.replace(aside)
            flush_folder(self.path.parent)  # or a power loss could leave only the new record
            self._rebuild(rebuild)
            log.warning(
                "%s is damaged (%s); kept as %s. Rebuilt from the results on disk, entries: %d.",
                shown(self.path),
                error.strerror if isinstance(error, UnusableFile) else error,
                aside.name,
                len(self.entries),
            )

    def _rebuild(self, rebuild: Callable[[], dict[str, dict]]) -> None:
        self._know(rebuild())
        if self.entries:
            with suppress(OSError):  # then it is written with the next entry
                self._replace(self.entries, self._texts)

    def _know(self, entries: dict[str, dict]) -> None:
        self.entries = {key: self.of(entry) for key, entry in entries.items()}
        try:
            self._texts = {key: _text(key, entry) for key, entry in entries.items()}
        except RecursionError:
            raise safe_pickle.PickleError("its entries are too deep") from None


class LedgerReader(Generic[Entry]):
    """The entries of another stage's record at `path`, without touching it; none if it is damaged.

    Ten thousand are a file of 2 MB, and nearly all of the time to read it is their JSON. So an entry is
    parsed again only when its line changed.
    """

    def __init__(self, path: Path, of: Callable[[dict], Entry]):
        self.path, self.of = path, of
        self.entries: dict[str, Entry] = {}
        self._state: FileState | None = None
        self._lines: list[str] = []
        self._parsed: list[tuple[str, Entry]] = []  # the key and the entry in each line

    def look(self) -> dict[str, Entry | None]:
        """Bring `entries` up to date; returns what was there before for each key that may have changed."""
        state, settled = state_of(self.path)
        if state is not None and state == self._state:
            return {}
        self._state = state if settled else None
        try:
            lines, start, end, new = self._read()
        except (OSError, safe_pickle.PickleError):
            lines, start, end, new = [], 0, 0, []
        old = self._parsed[start : len(self._parsed) - end]
        before = {key: self.entries.get(key) for key, _ in old + new}
        self._parsed[start : len(self._parsed) - end] = new
        self._lines, self.entries = lines, dict(self._parsed)
        return before

    def _read(self) -> tuple[list[str], int, int, list[tuple[str, Entry]]]:
        """The lines, how many are as before at the start and at the end, and what is between them."""
        text = _text_in(self.path)
        lines = text[1:-1].split(SEPARATOR) if text != "{}" else []
        start = _equal_at_start(lines, self._lines)
        end = _equal_at_start(lines[start:][::-1], self._lines[start:][::-1])
        try:
            return lines, start, end, [*map(self._entry_in, lines[start : len(lines) - end])]
        except (ValueError, RecursionError):  # JSON of the same meaning, written by another hand
            entries = _entries_in(text)
            return [], 0, 0, [(key, self.of(entries[key])) for key in entries]

    def _entry_in(self, line: str) -> tuple[str, Entry]:
        [(key, entry)] = json.loads(f"{{{line}}}").items()
        if not isinstance(entry, dict):
            raise ValueError("no entry")
        return key, self.of(entry)


def _equal_at_start(some: list[str], others: list[str]) -> int:
    """How many lines are equal, before the first ones that differ."""
    pairs = enumerate(zip(some, others, strict=False))
    shorter = min(len(some), len(others))
    return next((number for number, (one, other) in pairs if one != other), shorter)


def entries_in(path: Path) -> dict[str, dict]:
    """What a `LedgerReader` reads at its first look."""
    reader = LedgerReader(path, dict)
    reader.look()
    return reader.entries


def _dump(entries: dict[str, dict]) -> bytes:
    return _framed(_text(key, entry) for key, entry in entries.items())


def _text(key: str, entry: dict) -> str:
    return f"{json.dumps(key)}: {json.dumps(entry)}"


def _framed(texts: Iterable[str]) -> bytes:
    """The record of the entries whose JSON is `texts`."""
    return _sealed("{" + SEPARATOR.join(texts) + "}")


def _sealed(text: str) -> bytes:
    """The record of the entries that `text` spells, with the digest of it."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return safe_pickle.dumps({"entries": text, "sha256": digest})


def _read(path: Path) -> dict[str, dict]:
    return _entries_in(_text_in(path))


def _text_in(path: Path) -> str:
    """The JSON of the entries in `path`.

    Any changed bit is noticed: either the digest of the entries differs, or the bytes around them
    are not the ones that these entries are written with.

    Raises:
        safe_pickle.PickleError: the file is damaged.
    """
    content = read_file(path, constants.MOST_RECORD_BYTES)
    try:
        # Nothing is unpickled, nor need be: what is the same as these entries are written is whole.
        steps = islice(genops(content), MOST_STEPS)
        _, text, *_ = [value for _, value, _ in steps if isinstance(value, str)]
        unchanged = _sealed(text) == content
    except ValueError:
        raise safe_pickle.PickleError("it holds no entries") from None
    if not unchanged:
        raise safe_pickle.PickleError("its digest does not match")
    if (text[:1], text[-1:]) != ("{", "}"):
        raise safe_pickle.PickleError("it holds no entries")
    return text


def _entries_in(text: str) -> dict[str, dict]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise safe_pickle.PickleError("it holds no entries") from None
    if not all(isinstance(entry, dict) for entry in entries.values()):
        raise safe_pickle.PickleError("it holds no entries")
    return entries
