import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import constants
from pipeline.archive_formats import tar_reader, zip_reader
from pipeline.problem import RawDatasetError
from pipeline.raw_data.archives import is_archive, remove_leftovers, unpack
from testkit.archives import COMPRESSIONS, FORMATS, HONEST, archive, files, hostile, tar_of, zip_of
from testkit.processes import unmeasured

SUFFIXES = (*FORMATS, ".tgz", ".txz", ".tzst", ".tbz2", ".tbz")


@pytest.fixture
def into(tmp_path):
    return tmp_path / "unpacked" / "pets"


def contents(folder):
    """The bytes of each file in `folder`, None for each folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def expected(entries):
    return {name: content for name, _, content in entries}


def unpacked_files(folder):
    return {name: content for name, content in contents(folder).items() if content is not None}


def dropped(folder, suffix, content):
    path = folder / f"pets{suffix}"
    path.write_bytes(content)
    return path


def refusal(path, into):
    """The one problem with the archive `path`; nothing is left of it."""
    with pytest.raises(RawDatasetError) as refused:
        unpack(path, into)
    assert not list(into.parent.iterdir())
    [problem] = refused.value.problems
    return problem


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_name_says_that_a_file_is_an_archive(suffix):
    assert is_archive(f"my pets{suffix}")
    assert is_archive(f"my pets{suffix.upper()}")
    assert not is_archive(suffix)
    assert not is_archive(f"pets{suffix}.png")
    assert not is_archive(f"pets{suffix[1:]}")


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_archive_becomes_a_folder(tmp_path, into, suffix):
    path = dropped(tmp_path, suffix, archive(suffix, HONEST))
    calls = []
    unpack(path, into, calls.append)
    assert unpacked_files(into) == expected(HONEST)
    assert sum(calls) == len(HONEST)
    assert list(into.parent.iterdir()) == [into]
    assert path.read_bytes() == archive(suffix, HONEST)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_content_says_the_format_not_the_name(tmp_path, into, suffix):
    unpack(dropped(tmp_path, ".zip", archive(suffix, HONEST)), into)
    assert unpacked_files(into) == expected(HONEST)


@pytest.mark.parametrize("suffix", FORMATS)
def test_large_files_come_out_whole(tmp_path, into, suffix):
    content = os.urandom(2**20) + bytes(3 * zip_reader.CHUNK) + os.urandom(7)
    sizes = (0, 1, 511, 512, 513, zip_reader.CHUNK, zip_reader.CHUNK + 1, len(content))
    entries = [(f"{size}.png", "file", content[:size]) for size in sizes]
    unpack(dropped(tmp_path, suffix, archive(suffix, entries)), into)
    assert contents(into) == expected(entries)


@pytest.mark.parametrize("suffix", FORMATS)
def test_modes_are_those_of_plain_files_and_folders(tmp_path, into, suffix):
    entries = [("pets/", "folder", b""), *HONEST]  # all with the mode 7777
    unpack(dropped(tmp_path, suffix, archive(suffix, entries)), into)
    for path in (into, *into.rglob("*")):
        assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() else 0o644), path


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_folder_comes_along(tmp_path, into, suffix):
    entries = [*files("a.png"), ("./cat/", "folder", b""), ("cat/", "folder", b"")]
    unpack(dropped(tmp_path, suffix, archive(suffix, entries)), into)
    assert contents(into) == {"a.png": b"a.png", "cat": None}


@pytest.mark.parametrize("suffix", FORMATS)
def test_litter_stays_packed(tmp_path, into, suffix):
    names = ("__MACOSX/cat/._1.png", ".DS_Store", "cat/Thumbs.db", "README.md", ".git/x/1.png")
    entries = [*files(*names), ("cat/.link", "symbolic link", b"../../secret"), *files("cat/1.png")]
    unpack(dropped(tmp_path, suffix, archive(suffix, entries)), into)
    assert contents(into) == {"cat": None, "cat/1.png": b"cat/1.png"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_may_be_stored_or_deflated(tmp_path, into, method):
    unpack(dropped(tmp_path, ".zip", zip_of(HONEST, method)), into)
    assert unpacked_files(into) == expected(HONEST)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_each_form_of_a_tar_is_read(tmp_path, into, form):
    entries = [*HONEST, *files(f"{'long/' * 15}{'name' * 24}.png", "\xe4" * 49)]
    unpack(dropped(tmp_path, ".tar", tar_of(entries, form)), into)
    assert unpacked_files(into) == expected(entries)


def test_a_zip_that_was_written_to_a_pipe_is_read(tmp_path, into):
    """Its sizes follow the data; and in such a zip there are fields for sizes of 64 bits."""
    path = tmp_path / "pets.zip"
    writer = "import sys, zipfile; z = zipfile.ZipFile(sys.stdout.buffer, 'w', 8)\n"
    writer += "with z.open('cat/1.png', 'w', force_zip64=True) as f: f.write(b'cat')\nz.close()"
    with subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE) as process:
        path.write_bytes(process.stdout.read())
    unpack(path, into)
    assert unpacked_files(into) == {"cat/1.png": b"cat"}


def test_a_zip_with_very_many_files_is_read(tmp_path, into, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)  # and more need a directory of 64 bits
    content = zip_of(HONEST)
    assert b"PK\6\6" in content
    unpack(dropped(tmp_path, ".zip", content), into)
    assert unpacked_files(into) == expected(HONEST)


def test_a_name_that_is_utf_8_without_saying_so_is_read_as_such(tmp_path, into):
    """As macOS writes them; whatever is no UTF-8 is in the code page of DOS."""
    content = zip_of(files("k\xe4tzchen", "u")).replace(b"\0\x08\x08\0", b"\0\0\x08\0")
    unpack(dropped(tmp_path, ".zip", content), into)
    assert set(contents(into)) == {"k\xe4tzchen", "u"}
    shutil.rmtree(into)
    content = zip_of(files("k__tzchen")).replace(b"k__tzchen", b"k\x84\x81tzchen")
    unpack(dropped(tmp_path, ".zip", content), into)
    assert set(contents(into)) == {"k\xe4\xfctzchen"}


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"])
def test_what_was_compressed_in_parts_is_read(tmp_path, into, suffix):
    compress, tar = COMPRESSIONS[suffix], tar_of(HONEST)
    content = b"".join(compress(tar[at : at + 700]) for at in range(0, len(tar), 700))
    padding = bytes(8) if suffix != ".tar.bz2" else b""
    unpack(dropped(tmp_path, suffix, content + padding), into)
    assert unpacked_files(into) == expected(HONEST)


@pytest.mark.parametrize("suffix", FORMATS)
def test_hostile_archives_are_refused_with_the_reason(tmp_path, into, suffix, monkeypatch):
    monkeypatch.setattr(constants, "SMALL_ARCHIVE_BYTES", 2**20)
    count = 0
    for kind, content, reason in hostile(suffix):
        said = str(refusal(dropped(tmp_path, suffix, content), into))
        assert said.startswith(f"pets{suffix}"), kind
        assert reason in said, kind
        assert said.isprintable(), kind
        count += 1
    assert count > 60
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"pets{suffix}", "unpacked"]


def test_the_sentence_names_archive_member_reason_and_cure(tmp_path, into):
    problem = refusal(dropped(tmp_path, ".zip", zip_of(files("a/../\x07b"))), into)
    assert str(problem) == (
        'pets.zip: "a/../\\x07b" has a control character in its name.'
        " Unpack it yourself, and drop the folder with the images."
    )
    assert (problem.kind, problem.file) == ("unsafe", "a/../\\x07b")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0, 0.1, 0.3, 0.5, 0.7])
def test_an_archive_that_is_still_being_copied_is_not_whole(tmp_path, into, suffix, share):
    content = archive(suffix, [*HONEST, ("z.png", "file", os.urandom(40000))])
    path = dropped(tmp_path, suffix, content[: int(len(content) * share)])
    problem = refusal(path, into)
    assert "is not whole or damaged: " in problem.text
    assert problem.cure == "If it is still being copied, wait; else copy it again."
    assert problem.kind == "damaged"
    path.write_bytes(content[: int(len(content) * share)].ljust(len(content), b"\0"))
    if suffix != ".tar":  # which ends wherever there are zeros; the next test has more of them
        assert "is not whole or damaged: " in refusal(path, into).text


def test_a_tar_whose_copy_set_room_aside_is_not_whole(tmp_path, into):
    path = dropped(tmp_path, ".tar", tar_of(HONEST)[:1024] + bytes(tar_reader.MOST_PADDING + 2048))
    assert "is not whole or damaged: " in refusal(path, into).text
    path.write_bytes(tar_of(HONEST) + bytes(tar_reader.MOST_PADDING - 10240))
    unpack(path, into)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("MOST_UNPACKED_FILES", 5, "holds more files and folders than are allowed"),
        ("MOST_DIRECTORY_BYTES", 50, "holds more files and folders than are allowed"),
        ("MOST_UNPACKED_BYTES", 40, "gives more than 40 bytes"),
        ("SPARE_DISK_BYTES", 2**62, "less than the disk has free. Make room, then drop it again."),
    ],
)
def test_more_than_is_allowed_is_refused(tmp_path, into, suffix, limit, value, reason, monkeypatch):
    monkeypatch.setattr(constants, limit, value)
    path = dropped(tmp_path, suffix, archive(suffix, HONEST))
    assert reason in str(refusal(path, into))


def test_a_small_disk_is_measured_in_its_blocks(tmp_path, into, monkeypatch):
    path = dropped(tmp_path, ".zip", zip_of(files(*(f"{number}.png" for number in range(9)))))
    room = 8 * constants.DISK_BLOCK_BYTES
    usage = shutil.disk_usage(tmp_path)._replace(free=room + constants.SPARE_DISK_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert refusal(path, into).kind == "no_room"
    unpack(dropped(tmp_path, ".zip", zip_of(files(*"12345678"))), into)


@pytest.mark.linux
def test_a_tar_takes_no_more_memory_than_a_chunk(tmp_path, into):
    """The headers and the content, at 16 and 64 MB; what a process has at the most is what counts."""
    entries = [("a.png", "file", bytes(2**24))]
    path = dropped(tmp_path, ".tar", tar_of(entries))
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from pipeline.raw_data.archives import unpack\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"unpack(Path({str(path)!r}), Path({str(into)!r}))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    said = subprocess.check_output(
        [sys.executable, "-c", program], cwd=constants.ROOT, text=True, env=unmeasured()
    )
    assert int(said) < 2**13  # KiB
    assert tar_reader.CHUNK < 2**20


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.symlink_to(path.with_name("true.zip")), "a link"),
        (os.mkfifo, "a pipe"),
        (Path.mkdir, "a folder"),
    ],
)
def test_only_a_regular_file_is_opened(tmp_path, into, make, what):
    (tmp_path / "true.zip").write_bytes(zip_of(HONEST))
    make(tmp_path / "pets.zip")
    said = refusal(tmp_path / "pets.zip", into).text
    assert said == f"pets.zip cannot be opened: it is {what}, expected a file."


def test_what_is_there_already_is_left_alone(tmp_path, into):
    into.mkdir(parents=True)
    (into / "mine").write_text("kept")
    path = dropped(tmp_path, ".zip", zip_of(HONEST))
    with pytest.raises(FileExistsError):
        unpack(path, into)
    assert contents(tmp_path / "unpacked") == {"pets": None, "pets/mine": b"kept"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_that_is_stopped_leaves_nothing(tmp_path, into, suffix):
    def stop(files):
        if files:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(dropped(tmp_path, suffix, archive(suffix, HONEST)), into, stop)
    assert not list(into.parent.iterdir())


def test_a_tar_that_changes_while_it_is_unpacked_is_checked_again(tmp_path, into):
    large = ("large.png", "file", os.urandom(2 * tar_reader.CHUNK))  # more than was read ahead
    entries = [*HONEST[:1], large, *HONEST[1:]]
    path = dropped(tmp_path, ".tar", tar_of(entries))

    def change(written):
        if written:
            path.write_bytes(tar_of([*entries, *files("../secret")]))

    with pytest.raises(RawDatasetError, match=r'"\.\./secret" leads out of its folder'):
        unpack(path, into, change)
    assert not list(into.parent.iterdir())


def test_what_a_killed_process_left_is_removed(tmp_path, into):
    path = dropped(tmp_path, ".zip", zip_of(HONEST))
    program = (
        "import os, sys; from pathlib import Path\n"
        "from pipeline.raw_data.archives import unpack\n"
        f"unpack(Path({str(path)!r}), Path({str(into)!r}), lambda files: files and os._exit(9))"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=constants.ROOT, env=unmeasured())
    assert ended.returncode == 9
    [left] = into.parent.iterdir()
    assert left.name.startswith(".") and any(left.rglob("*.png"))
    remove_leftovers(into.parent)
    assert not into.parent.exists()
    remove_leftovers(into.parent)


def test_leftovers_are_not_looked_for_behind_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_text("kept")
    (tmp_path / "unpacked").symlink_to("elsewhere")
    remove_leftovers(tmp_path / "unpacked")
    assert contents(tmp_path / "elsewhere") == {"mine": b"kept"}
