import json
import os
import random
import stat
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import constants
import helper
from helper import (
    UnusableFile,
    digest_of,
    open_regular,
    printable,
    read_file,
    whole_file,
    write_json,
)
from pipeline.artifacts.dataset import time_name
from pipeline.artifacts.metadata import read_json


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# whole_file


def test_a_file_appears_only_when_the_block_has_ended(tmp_path):
    path = tmp_path / "a.pkl"
    with whole_file(path) as file:
        file.write(b"all of it")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert names_in(tmp_path) == ["a.pkl"]


def test_an_older_file_is_read_whole_until_it_is_replaced(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failing_block_leaves_no_partial_file_and_the_old_one_as_it_was(tmp_path, error, old):
    path = tmp_path / "a.pkl"
    if old:
        path.write_bytes(old)
    with pytest.raises(error), whole_file(path) as file:
        file.write(b"half of ")
        raise error
    assert names_in(tmp_path) == (["a.pkl"] if old else [])
    assert not old or path.read_bytes() == old


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_no_partial_file_and_the_old_one_as_it_was(
    tmp_path, monkeypatch, call
):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"), whole_file(path) as file:
        file.write(b"new")
    assert names_in(tmp_path) == ["a.pkl"]
    assert path.read_bytes() == b"old"


@pytest.mark.linux
def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_it_returns(
    tmp_path, monkeypatch
):
    happened, fsync, replace = [], os.fsync, os.replace

    def recorded_fsync(descriptor):
        status = os.fstat(descriptor)
        happened.append(
            ("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink()), status.st_size)
        )
        fsync(descriptor)

    def recorded_replace(source, target):
        happened.append(("replace", str(source), str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    with whole_file(tmp_path / "a") as file:
        file.write(b"12345")
    partial = str(tmp_path / ".a.partial")
    assert happened[:2] == [("fsync", partial, 5), ("replace", partial, str(tmp_path / "a"))]
    assert [event[:2] for event in happened[2:]] == [("fsync", str(tmp_path))]


def test_a_process_killed_in_the_block_leaves_a_partial_file_that_is_removed_later(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from helper import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.pkl")], cwd=constants.ROOT
    )
    assert killed.returncode == -9
    assert names_in(tmp_path) == [".a.pkl.partial"]
    (tmp_path / ".keep").touch()
    helper.remove_partials(tmp_path)
    assert names_in(tmp_path) == [".keep"]


# JSON


def test_odd_content_comes_back_from_json_as_it_was(tmp_path):
    content = {
        "half a character": "\udc80 \ud83d",
        "whole": "猫 😀 \x00\x1b\n\u202e\u2028",
        "": [1, -2.5, 2**70, True, None, {"a": []}],
        "\udcff.png": "a name that is no UTF-8",
    }
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == content


def test_random_text_comes_back_from_json_as_it_was(tmp_path):
    draw = random.Random(5)
    for _ in range(100):
        text = "".join(
            chr(draw.randrange(2 ** draw.choice([7, 11, 16]))) for _ in range(draw.randrange(30))
        )
        # Two halves side by side are one character after JSON, as in every JSON parser.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        write_json(tmp_path / "a.json", {text: text})
        assert read_json(tmp_path / "a.json") == {text: text}


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    for impossible in ({"a": float("nan")}, {"a": float("inf")}, {"a": {1, 2}}):
        with pytest.raises((ValueError, TypeError)):
            write_json(path, impossible)
    assert read_json(path) == {"a": 1}
    assert names_in(tmp_path) == ["a.json"]


BROKEN = [
    b"",
    b"{",
    b'{"a": 1',
    b"[1, 2]",
    b'"text"',
    b"null",
    b"\xff\xfe\xfd",
    b'{"a": 1}{',
    b"[" * 100_000,
    b'{"a": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:12]))
def test_json_that_is_broken_or_no_object_reads_as_empty(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert read_json(tmp_path / "a.json") == {}


def test_json_that_is_not_there_reads_as_empty(tmp_path):
    assert read_json(tmp_path / "none.json") == {}


# Digests


def test_a_digest_does_not_depend_on_the_order_of_keys_at_any_depth():
    one = {"a": 1, "b": {"c": [1, 2], "d": "\udc80"}}
    other = {"b": {"d": "\udc80", "c": [1, 2]}, "a": 1}
    assert digest_of(one) == digest_of(other)
    assert len(digest_of(one)) == 64


def test_different_content_has_different_digests():
    contents = [{}, [], "", 0, 0.5, None, "0", [1, 2], [2, 1], {"a": 1}, {"a": "1"}, {"a": True}]
    assert len({digest_of(content) for content in contents}) == len(contents)


def test_a_digest_is_the_same_in_every_process():
    script = "from helper import digest_of; print(digest_of({'b': [1, 'x'], 'a': 2}))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=constants.ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert digests == {digest_of({"a": 2, "b": [1, "x"]})}


def test_the_digest_of_a_file_is_its_sha_256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert helper.sha256_of(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


# Names


def test_a_time_name_is_the_local_time():
    before = datetime.now()
    name = time_name([])
    assert before <= datetime.strptime(name, constants.TIME_NAME) <= datetime.now()


def test_names_taken_one_after_the_other_are_unique_and_increasing():
    names: list[str] = []
    for _ in range(200):
        names.append(time_name(names))
    assert names == sorted(set(names))


def test_a_name_comes_after_one_from_the_future():
    assert time_name(["2999-12-31 23:59:59.999999"]) == "3000-01-01 00:00:00.000000"


@pytest.mark.parametrize("behind", [timedelta(0), timedelta(days=1), timedelta(days=3650)])
def test_a_clock_that_stands_still_or_is_set_back_still_gives_increasing_names(behind):
    first = (datetime.now() + timedelta(days=1) + behind).strftime(constants.TIME_NAME)
    second = time_name([first])
    third = time_name(iter([second, first]))
    assert first < second < third
    assert len({len(first), len(second), len(third)}) == 1


def test_names_given_by_hand_are_passed_over():
    by_hand = ["mnist", "", "2022-13-45 99:99:99.0", "9999", "\udc80", "x 2999-01-01 00:00:00.0"]
    name = time_name([*by_hand, "2999-01-01 00:00:00.000001"])
    assert name == "2999-01-01 00:00:00.000002"


# Text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain 猫 é 😀", "plain 猫 é 😀"),
        ("two\nlines\r\n\t", r"two\nlines\r\n\t"),
        ("\x1b[31mred\x9b0m", r"\x1b[31mred\x9b0m"),
        ("a\u202egnp.exe\u2066\u200f", r"a\u202egnp.exe\u2066\u200f"),
        ("\u2028\u2029\x85\x00", r"\u2028\u2029\x85\x00"),
        ("half \udc80", r"half \udc80"),
        (Path("a\nb"), r"a\nb"),
        (7, "7"),
    ],
)
def test_what_is_shown_stays_on_one_line_and_moves_no_cursor(text, expected):
    assert printable(text) == expected


@pytest.mark.slow
def test_every_character_is_shown_as_something_printable():
    for code in range(sys.maxunicode + 1):
        if not printable(chr(code)).isprintable():
            pytest.fail(f"U+{code:04X} is shown as it is")


def test_a_path_is_shown_as_typed_in_the_projects_folder(tmp_path):
    assert helper.shown(constants.ROOT / "models" / "cnn.py") == "models/cnn.py"
    assert helper.shown(tmp_path / "a\nb") == f"{tmp_path}/a\\nb"


# Regular files only


NO_FILES = {
    "a pipe": os.mkfifo,
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o644),
    "a folder": os.mkdir,
    "a link to no file": lambda path: path.symlink_to("nowhere"),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_not_opened_and_named(tmp_path, what):
    path = tmp_path / "x"
    NO_FILES[what](path)
    before = os.listdir("/dev/fd")  # noqa: PTH208
    with pytest.raises(UnusableFile, match=f"it is {what}, expected a file") as error:
        read_file(path, 9)
    assert error.value.filename == str(path)
    for mode in ("wb", "ab", "a+"):
        with (
            pytest.raises(UnusableFile, match=r"it is a .*, expected a file"),
            open(path, mode, opener=open_regular),
        ):
            pass
    assert os.listdir("/dev/fd") == before  # noqa: PTH208


def test_a_link_to_itself_is_no_file(tmp_path):
    (tmp_path / "x").symlink_to("x")
    with pytest.raises(UnusableFile, match="it is a link to no file"):
        read_file(tmp_path / "x", 9)


def test_a_link_to_a_file_is_read_and_none_is_made_through_it(tmp_path):
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(UnusableFile), open(tmp_path / "link", "w", opener=open_regular):
        pass
    assert not (tmp_path / "file").exists()
    (tmp_path / "file").write_bytes(b"content")
    assert read_file(tmp_path / "link", 7) == b"content"


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        file.truncate(2**40)  # a hole: it takes no room on the disk
    with pytest.raises(
        UnusableFile, match=r"it has 1,099,511,627,776 bytes, at most 9 are allowed"
    ):
        read_file(tmp_path / "x", 9)


@pytest.mark.linux
def test_a_file_without_a_size_is_read_up_to_the_limit():
    assert read_file("/proc/self/stat", 2**16).startswith(str(os.getpid()).encode())
    with pytest.raises(UnusableFile, match="at most 9 are allowed"):
        read_file("/proc/self/stat", 9)


def test_a_file_is_written_whole_over_a_pipe_and_not_through_a_link_in_its_way(tmp_path):
    os.mkfifo(tmp_path / "x")
    with whole_file(tmp_path / "x") as file:
        file.write(b"content")
    assert (tmp_path / "x").read_bytes() == b"content"
    (tmp_path / ".x.partial").symlink_to(tmp_path / "other")
    with pytest.raises(UnusableFile), whole_file(tmp_path / "x"):
        pass
    assert (tmp_path / "x").read_bytes() == b"content"
    assert not (tmp_path / "other").exists()
