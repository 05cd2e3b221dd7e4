import errno
import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest

import constants
from pipeline.artifacts import ledger, safe_pickle
from pipeline.artifacts.ledger import Ledger, LedgerReader, entries_in
from pipeline.stage.log_lines import log

ENTRIES = {
    "digest one": {"name": "2022-06-08 20:57:20.868637", "state": "trained", "seconds": 1.5},
    "digest two": {"name": "猫\udc80", "state": "failed", "reason": "no image", "tries": 2},
}
REBUILT = {"from the disk": {"state": "trained"}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model_training_settings.pkl"


@pytest.fixture
def recorded(path):
    """A record that holds ENTRIES."""
    ledger = Ledger(path, dict)
    for key, entry in ENTRIES.items():
        ledger.record(key, **entry)
    return path


def never():
    raise AssertionError("a whole record was rebuilt")


def rebuild():
    return dict(REBUILT)


def test_entries_are_there_when_the_record_is_opened_again(recorded):
    assert Ledger(recorded, never).entries == ENTRIES


def test_what_is_noted_is_written_with_all_else_once_it_is_saved(path):
    record = Ledger(path, dict)
    record.save()
    assert not path.exists()
    record.note("a", state="done")
    record.note("b", state="failed")
    assert set(record.entries) == {"a", "b"}
    assert not path.exists()
    record.save()
    assert entries_in(path) == {"a": {"state": "done"}, "b": {"state": "failed"}}
    written = path.stat()
    record.save()
    assert path.stat() == written


def test_entries_survive_the_process_that_made_them(path):
    script = (
        "import os, sys; from pathlib import Path; from pipeline.artifacts.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]), dict)\n"
        "ledger.record('a', state='trained')\n"
        "ledger.record('b', state='failed')\n"
        "ledger.record('b', state='trained')\n"
        "os.kill(os.getpid(), 9)"
    )
    process = subprocess.run([sys.executable, "-c", script, str(path)], cwd=constants.ROOT)
    assert process.returncode == -9
    expected = {"a": {"state": "trained"}, "b": {"state": "trained"}}
    assert Ledger(path, never).entries == expected


def test_a_plain_pickle_load_reads_a_record(recorded):
    assert json.loads(pickle.loads(recorded.read_bytes())["entries"]) == ENTRIES


def test_a_record_that_is_not_there_is_rebuilt_and_written_at_once(path):
    assert Ledger(path, rebuild).entries == REBUILT
    assert entries_in(path) == REBUILT


def test_where_nothing_is_done_no_record_is_written(path):
    assert Ledger(path, dict).entries == {}
    assert not path.exists()


def test_a_rebuilt_record_that_the_disk_refuses_is_written_with_the_next_entry(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        ledger = Ledger(path, rebuild)
    assert ledger.entries == REBUILT
    ledger.record("new", state="failed")
    assert Ledger(path, never).entries == {**REBUILT, "new": {"state": "failed"}}


def full(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def assert_noticed(path, damaged: bytes):
    path.write_bytes(damaged)
    ledger = Ledger(path, rebuild)
    assert ledger.entries == REBUILT
    assert entries_in(path) == REBUILT
    (aside,) = path.parent.glob(f"{path.stem}.damaged-*")
    assert aside.read_bytes() == damaged
    aside.unlink()


@pytest.fixture
def without_flushing(monkeypatch):
    """For thousands of writes: no power is lost here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.slow
@pytest.mark.usefixtures("without_flushing")
def test_every_single_bit_flip_is_noticed_kept_aside_and_rebuilt(recorded):
    content = recorded.read_bytes()
    for place in range(len(content) * 8):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        assert_noticed(recorded, bytes(damaged))


@pytest.mark.usefixtures("without_flushing")
def test_every_prefix_is_noticed_kept_aside_and_rebuilt(recorded):
    content = recorded.read_bytes()
    for length in range(len(content)):
        assert_noticed(recorded, content[:length])


def test_a_power_loss_leaves_the_damaged_record_or_the_name_it_is_kept_under(path, monkeypatch):
    names = []
    monkeypatch.setattr(
        os, "fsync", lambda _: names.append({one.name for one in path.parent.iterdir()})
    )
    path.write_bytes(b"damaged")
    Ledger(path, rebuild)
    (aside,) = path.parent.glob("*.damaged-*")
    assert names[0] == {aside.name}


NO_RECORDS = {
    "a list": [],
    "no entries": {"sha256": "0"},
    "entries that are a list": {"entries": [1]},
    "an entry that is no dict": {"entries": {"a": 1}},
    "a wrong digest": {"entries": {"a": {}}, "sha256": "0" * 64},
    "bytes": {"entries": {"a": {"b": b"c"}}},
    "a set": {"entries": {"a": {"b": {1}}}},
    "keys of two types": {"entries": {"a": {"b": {1: 2, "c": 3}}}},
    "a key that is a tuple": {"entries": {("a", 1): {}}},
    "a number of 20,000 digits": {"entries": {"a": {"b": 1 << 70_000}}},
}


@pytest.mark.parametrize("what", NO_RECORDS)
def test_a_pickle_of_something_else_is_noticed_kept_aside_and_rebuilt(path, what):
    assert_noticed(path, pickle.dumps(NO_RECORDS[what]))


def test_values_nested_too_deep_are_noticed(path):
    for depth in (100, 480, 900, 5000):
        value = b"]" * depth + b"a" * (depth - 1)
        start = b"\x80\x05}\x8c\x07entries}\x8c\x01k}\x8c\x01v"
        assert_noticed(path, start + value + b"sss.")


def test_bytes_after_the_end_of_a_record_are_noticed(recorded):
    assert_noticed(recorded, recorded.read_bytes() + b"\0")


def test_a_record_that_asks_for_a_function_runs_nothing(path, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    assert_noticed(path, pickle.dumps({"entries": {"a": {"b": Hostile()}}}))
    assert not (tmp_path / "ran").exists()


def test_the_warning_names_the_record_the_reason_and_where_it_is_kept(
    recorded, caplog, monkeypatch
):
    monkeypatch.setattr(log, "propagate", True)
    damaged = pickle.dumps({"entries": '{"a": {}}', "sha256": "0"})
    recorded.write_bytes(damaged)
    Ledger(recorded, rebuild)
    (aside,) = recorded.parent.glob("*.damaged-*")
    assert caplog.messages == [
        f"{recorded} is damaged (its digest does not match); kept as {aside.name}."
        " Rebuilt from the results on disk, entries: 1."
    ]
    assert aside.name.startswith("model_training_settings.damaged-")


def test_equal_content_is_written_as_equal_bytes_whichever_strings_are_one_object():
    word = "state"
    same_word = "".join(["st", "ate"])
    assert word is not same_word
    assert safe_pickle.dumps({word: word}) == safe_pickle.dumps({word: same_word})


def test_a_refused_write_leaves_the_entries_and_the_record_as_they_were(recorded, monkeypatch):
    ledger, before = Ledger(recorded, never), recorded.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            ledger.record("new", state="trained")
        with pytest.raises(OSError, match="No space left"):
            ledger.forget("digest one")
    assert ledger.entries == ENTRIES
    assert recorded.read_bytes() == before
    assert list(recorded.parent.iterdir()) == [recorded]
    ledger.record("new", state="trained")
    assert Ledger(recorded, never).entries == {**ENTRIES, "new": {"state": "trained"}}


def test_a_folder_that_has_gone_refuses_the_entry_until_it_is_back(recorded):
    ledger = Ledger(recorded, never)
    shutil.rmtree(recorded.parent)
    with pytest.raises(FileNotFoundError):
        ledger.record("new", state="trained")
    assert ledger.entries == ENTRIES
    recorded.parent.mkdir()
    ledger.record("new", state="trained")
    assert Ledger(recorded, never).entries == {**ENTRIES, "new": {"state": "trained"}}


def test_what_is_forgotten_is_gone_after_a_restart_too(recorded):
    ledger = Ledger(recorded, never)
    ledger.forget("digest one", "never there")
    assert ledger.entries == {"digest two": ENTRIES["digest two"]}
    assert Ledger(recorded, never).entries == ledger.entries


def test_forgetting_what_is_not_there_writes_nothing(recorded):
    inode = recorded.stat().st_ino
    Ledger(recorded, never).forget("never there")
    assert recorded.stat().st_ino == inode


NO_FILES = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "full folder": lambda path: (path / "x").mkdir(parents=True),
    "broken link": lambda path: path.symlink_to("nowhere"),
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_kept_aside_and_the_record_rebuilt(path, what, caplog, monkeypatch):
    monkeypatch.setattr(log, "propagate", True)
    NO_FILES[what](path)
    assert entries_in(path) == {}
    assert Ledger(path, rebuild).entries == REBUILT
    assert entries_in(path) == REBUILT
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.is_symlink() or not aside.is_file()
    assert "model_training_settings.pkl is damaged (it is a" in caplog.text


def test_a_record_of_entries_nested_beyond_reason_is_rebuilt(path):
    for depth in (*range(880, 1000, 5), 100_000):
        text = '"a": {"state": ' + "[" * depth + "]" * depth + "}"
        path.write_bytes(ledger._framed([text]))
        assert Ledger(path, rebuild).entries.keys() in ({"a"}, REBUILT.keys())


@pytest.mark.slow
def test_a_record_of_100_000_runs_is_within_the_limit(path):
    entry = {"state": "trained", "name": "x" * constants.MOST_IN_NAME, "accuracy": 0.123456789}
    entry |= {"model": "a model with a name", "seconds": 12.345, "images": 60_000, "epochs": 20}
    content = ledger._dump({f"{number:064}": entry for number in range(100_000)})
    assert len(content) < constants.MOST_RECORD_BYTES
    path.write_bytes(content)
    assert len(entries_in(path)) == 100_000


def test_a_reader_parses_an_entry_again_only_where_its_line_changed(recorded):
    parsed = []
    reader = LedgerReader(recorded, lambda entry: parsed.append(entry) or entry)
    assert reader.look() == dict.fromkeys(ENTRIES)
    record = Ledger(recorded, never)
    record.record("digest three", state="trained")
    assert reader.look() == {"digest three": None}
    assert reader.entries == record.entries
    assert len(parsed) == 3


@pytest.mark.parametrize("indent", [1, None])
def test_a_reader_takes_the_same_entries_from_another_hand(recorded, indent):
    reader = LedgerReader(recorded, dict)
    for entries in (ENTRIES, REBUILT, ENTRIES):
        recorded.write_bytes(ledger._sealed(json.dumps(entries, indent=indent)))
        reader.look()
        assert reader.entries == entries
        recorded.write_bytes(ledger._dump({**entries, "more": {}}))
        reader.look()
        assert reader.entries == {**entries, "more": {}}
