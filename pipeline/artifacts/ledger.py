"""What a stage has finished or failed at; true after a crash, and noticed when damaged.

The record of a stage is one small pickle, written whole after each change, *after* the result that
it speaks of. So a crash between the two leaves a result with no entry: the stage looks once more,
finds the result and enters it. The results carry descriptions of their own, so a record that was
lost or damaged is put together again from what is on disk.

The entries are in it as JSON text, which is fast: ten thousand are rewritten in milliseconds.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from pickletools import genops
from typing import Any, Generic, TypeVar

import constants
from helper import UnusableFile, flush_folder, read_file, sha256_of, shown, whole_file
from pipeline.artifacts import safe_pickle
from pipeline.stage.log_lines import log

LARGE = 2**20  # bytes
MOST_STEPS = 20  # that a pickle machine takes to read a record; it takes half as many
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


def entries_in(path: Path) -> dict[str, dict]:
    """The entries of another stage's record, without touching it; {} if there is none or it is damaged."""
    try:
        return _read(path)
    except (OSError, safe_pickle.PickleError):
        return {}


def _dump(entries: dict[str, dict]) -> bytes:
    return _framed(_text(key, entry) for key, entry in entries.items())


def _text(key: str, entry: dict) -> str:
    return f"{json.dumps(key)}: {json.dumps(entry)}"


def _framed(texts: Iterable[str]) -> bytes:
    """The record of the entries whose JSON is `texts`, with the digest of it all."""
    entries = "{" + ",\n".join(texts) + "}"
    digest = hashlib.sha256(entries.encode()).hexdigest()
    return safe_pickle.dumps({"entries": entries, "sha256": digest})


def _read(path: Path) -> dict[str, dict]:
    """The entries in `path`.

    Any changed bit is noticed: either the digest of the entries differs, or the bytes around them
    are not the ones that these entries are written with.

    Raises:
        safe_pickle.PickleError: the file is damaged.
    """
    content = read_file(path, constants.MOST_RECORD_BYTES)
    if len(content) > LARGE and not _is_mostly_text(content):
        raise safe_pickle.PickleError("it holds no entries")
    record = safe_pickle.loads(content, "the record")
    text: Any = record.get("entries") if isinstance(record, dict) else None
    try:
        entries = json.loads(text)
        unchanged = _framed([text[1:-1]]) == content
    except (TypeError, ValueError, RecursionError):
        raise safe_pickle.PickleError("it holds no entries") from None
    if not isinstance(entries, dict) or not all(
        isinstance(entry, dict) for entry in entries.values()
    ):
        raise safe_pickle.PickleError("it holds no entries")
    if not unchanged:
        raise safe_pickle.PickleError("its digest does not match")
    return entries


def _is_mostly_text(content: bytes) -> bool:
    """Whether it is a few long values: of millions of short ones each takes 100 bytes to load."""
    try:
        return len(list(islice(genops(content), MOST_STEPS + 1))) <= MOST_STEPS
    except ValueError:
        return False
