"""Archives: honest ones in each format, and hostile ones of each kind."""

import bz2
import gzip
import importlib
import io
import lzma
import stat
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator

import constants
from pipeline.archive_formats.tar_reader import MOST_PADDING

zstd = importlib.import_module(
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
)

AS_ZSTD = {zstd.CompressionParameter.checksum_flag: 1}  # which the tool sets if it is not told
Entry = tuple[str, str, bytes]  # name, type, content or target
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes,
    ".tar.gz": lambda content: gzip.compress(content, mtime=0),
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": lambda content: zstd.compress(content, options=AS_ZSTD),
}
FORMATS = (".zip", *COMPRESSIONS)
TAR_TYPES = {
    "file": tarfile.REGTYPE,
    "folder": tarfile.DIRTYPE,
    "symbolic link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "disk": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "sparse file": tarfile.GNUTYPE_SPARSE,
    "unknown": b"z",
}
ZIP_TYPES = {
    "file": stat.S_IFREG,
    "folder": stat.S_IFDIR,
    "symbolic link": stat.S_IFLNK,
    "device": stat.S_IFCHR,
    "disk": stat.S_IFBLK,
    "pipe": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
}


def files(*names: str) -> list[Entry]:
    return [(name, "file", name.encode("utf-8", "surrogatepass")) for name in names]


def archive(suffix: str, entries: list[Entry]) -> bytes:
    """An archive in the format of `suffix`; the names are written as they are."""
    return zip_of(entries) if suffix == ".zip" else COMPRESSIONS[suffix](tar_of(entries))


def zip_of(entries: list[Entry], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name, kind, content in entries:
            info = zipfile.ZipInfo(date_time=(2026, 1, 1, 0, 0, 0))
            info.filename = name  # ZipInfo() itself would correct it
            info.external_attr = (ZIP_TYPES[kind] | 0o7777) << 16
            info.compress_type = method
            written._writecheck = lambda _: None  # a name that is there already is only a warning
            written.writestr(info, content)
    return file.getvalue()


def tar_of(entries: list[Entry], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as written:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = TAR_TYPES[kind], 0o7777
            if kind in ("symbolic link", "hard link"):
                info.linkname = content.decode()
            elif kind != "folder":
                info.size = len(content)
            written.addfile(info, io.BytesIO(content))
    return file.getvalue()


HONEST = files("pets/cat/1.png", "pets/cat/2.png", "pets/dog/1.png", "pets/\xe4.csv")
# Of each: what is in the archive besides, in whatever format, and what is said of it.
HOSTILE: dict[str, tuple[list[Entry], str]] = {
    "upwards": (files("../secret"), 'leads out of its folder by ".."'),
    "upwards within": (files("pets/../../secret"), 'leads out of its folder by ".."'),
    "upwards and back": (files("pets/../pets/3.png"), 'leads out of its folder by ".."'),
    "upwards at the end": ([("pets/..", "folder", b"")], 'leads out of its folder by ".."'),
    "upwards in litter": (files(".git/../../secret"), 'leads out of its folder by ".."'),
    "absolute": (files("/tmp/secret"), "has an absolute name"),
    "drive": (files("C:secret"), "has an absolute name"),
    "backslashes": (files("pets\\..\\..\\secret"), "has a backslash in its name"),
    "share": (files("\\\\server\\secret"), "has a backslash in its name"),
    "newline": (files("pets/a\nb.png"), "has a control character in its name"),
    "escape": (files("pets/\x1b[2J.png"), "has a control character in its name"),
    "C1": (files("pets/\x9b2J.png"), "has a control character in its name"),
    "long": (files("pets/" + "x" * 256), "has too long a name"),
    "long by bytes": (files("pets/" + "\xe4" * 128), "has too long a name"),
    "long path": (files("pets/" + f"{'x' * 200}/" * 6 + "a"), "has too long a name"),
    "deep": (files("d/" * 40 + "a"), "lies too many folders deep"),
    "symbolic link": ([("pets/a", "symbolic link", b"/etc/passwd")], "is a symbolic link"),
    "link to a folder": (
        [("pets/a", "symbolic link", b".."), *files("pets/a/secret")],
        "is a symbolic link",
    ),
    "hard link": ([("pets/a", "hard link", b"pets/cat/1.png")], "is a hard link"),
    "device": ([("pets/a", "device", b"")], "is a device"),
    "disk": ([("pets/a", "disk", b"")], "is a device"),
    "pipe": ([("pets/a", "pipe", b"")], "is a pipe"),
    "socket": ([("pets/a", "socket", b"")], "is a socket"),
    "sparse file": ([("pets/a", "sparse file", b"")], "is a sparse file"),
    "unknown": ([("pets/a", "unknown", b"")], "is of an unknown type"),
    "twice": (files("pets/cat/1.png"), "is in it twice"),
    "twice, otherwise": (files("./pets//cat/./1.png"), "is in it twice"),
    "case": (files("pets/cat/1.PNG"), "is, but for case or Unicode form"),
    "case of a folder": (files("pets/Cat/7.png"), "is, but for case or Unicode form"),
    "Unicode form": (files("pets/a\u0308.csv"), "is, but for case or Unicode form"),
    "case of both": (files("pets/A\u0308.CSV"), "is, but for case or Unicode form"),
    "sharp s": (files("pets/ss", "pets/\xdf"), "is, but for case or Unicode form"),
    "file in a file": (files("pets/cat/1.png/a"), "is a file and also a folder"),
    "file for a folder": (files("pets/cat"), "is a file and also a folder"),
    "folder for a file": (
        [("pets/cat/1.png/", "folder", b"")],
        "is a file and also a folder",
    ),
}  # fmt: skip


def hostile(suffix: str) -> Iterator[tuple[str, bytes, str]]:
    """A name, an archive in the format of `suffix`, and what is said of it."""
    types = ZIP_TYPES if suffix == ".zip" else TAR_TYPES
    for kind, (entries, reason) in HOSTILE.items():
        if all(entry[1] in types for entry in entries):
            yield kind, archive(suffix, [*HONEST, *entries]), reason
    if suffix == ".zip":
        yield from _hostile_zips()
    else:
        for kind, content, reason in _hostile_tars():
            yield kind, COMPRESSIONS[suffix](content), reason
        if suffix != ".tar":
            inflated = [("pets/bomb", "file", bytes(2 * constants.SMALL_ARCHIVE_BYTES))]
            yield "bomb", archive(suffix, [*HONEST, *inflated]), "gives more than"
            inflated = [(".litter", "file", bytes(2 * constants.SMALL_ARCHIVE_BYTES))]
            yield "bomb in litter", archive(suffix, [*inflated, *HONEST]), "gives more than"


def _hostile_zips() -> Iterator[tuple[str, bytes, str]]:
    honest, stored = zip_of(HONEST), zip_of(HONEST, zipfile.ZIP_STORED)
    central, end = honest.index(b"PK\1\2"), honest.rindex(b"PK\5\6")
    second = honest.index(b"PK\1\2", central + 1)
    differs, damaged = "its header differs from", "is not whole or damaged"
    for at, size, kind in (
        (6, "H", "flags"),
        (14, "L", "crc"),
        (18, "L", "packed"),
        (22, "L", "size"),
    ):
        yield f"local {kind}", patched(honest, at, size, 1), differs
    yield "local method", patched(honest, 8, "H", 0), differs
    yield "local name", honest.replace(b"1.png", b"3.png", 1), differs
    yield "local signature", patched(honest, 0, "L", 0), damaged
    for method in (1, 9, 12, 14, 93, 99, 0xFFFF):
        content = patched(patched(honest, central + 10, "H", method), 8, "H", method)
        yield f"method {method}", content, f"is compressed by method {method}, expected"
    for flags in (1, 1 << 6, 1 << 13):
        content = patched(patched(honest, central + 8, "H", flags), 6, "H", flags)
        yield f"encrypted {flags}", content, "is encrypted"
    # As both headers say it; the content gives something else.
    for value, kind in ((0, "none"), (1, "few"), (15, "more"), (2**31, "many")):
        content = patched(patched(honest, central + 24, "L", value), 22, "L", value)
        yield f"gives {kind}", content, "gives" if value < 2**31 else "gives more than"
    content = patched(patched(honest, central + 16, "L", 7), 14, "L", 7)
    yield "checksum", content, "its checksum is wrong"
    content = patched(patched(stored, stored.index(b"PK\1\2") + 24, "L", 15), 22, "L", 15)
    yield "stored, gives more", content, "it gives another number of bytes than it says"
    packed = struct.unpack_from("<L", honest, central + 20)[0]
    for less in (1, packed):
        content = patched(patched(honest, central + 20, "L", packed - less), 18, "L", packed - less)
        yield f"cut by {less}", content, damaged
    start = struct.unpack_from("<L", honest, second + 42)[0]
    yield "overlap", patched(honest, second + 42, "L", 0), "overlaps with the one before it"
    content = patched(patched(honest, central + 20, "L", packed + 9), 18, "L", packed + 9)
    yield "overlap by some bytes", content, "overlaps with the one before it"
    yield "beyond the end", patched(honest, second + 42, "L", len(honest) + 9), damaged
    yield "into the directory", patched(honest, second + 42, "L", central), damaged
    yield "between headers", patched(honest, second + 42, "L", start + 1), damaged
    for at, size, kind in (
        (8, "H", "count"),
        (12, "L", "size"),
        (16, "L", "start"),
        (20, "H", "end"),
    ):
        reason = "is one part of several" if kind == "count" else damaged
        yield f"directory's {kind}", patched(honest, end + at, size, 1), reason
    yield "too few listed", patched(honest, end + 8, "HH", 1, 1), damaged
    yield "too many listed", patched(honest, end + 8, "HH", 99, 99), damaged
    yield "parts", patched(honest, end + 4, "H", 1), "is one part of several"
    yield "something before", b"MZ" + honest, damaged
    yield "something behind", honest + b"x", damaged
    yield "something in between", honest[:central] + b"x" + honest[central:], damaged
    yield "something before the end", honest[:end] + b"x" + honest[end:], damaged
    yield "large count", patched(honest, end + 8, "HH", 0xFFFF, 0xFFFF), damaged
    large = b"PK\6\6" + struct.pack(
        "<Q2H2L4Q", 44, 45, 45, 0, 0, 2**40, 2**40, end - central, central
    )
    large += b"PK\6\7" + struct.pack("<LQL", 0, end, 1)
    tail = patched(honest[end:], 8, "HH", 0xFFFF, 0xFFFF)
    yield "count of 2^40", honest[:end] + large + tail, "more files and folders than are allowed"
    yield "two counts", honest[:end] + large + honest[end:], damaged
    inflated = [("pets/bomb", "file", bytes(2 * constants.SMALL_ARCHIVE_BYTES))]
    yield "bomb", zip_of([*HONEST, *inflated]), "gives more than"
    yield (
        "folder's content",
        zip_of([*HONEST, ("pets/a/", "folder", b"x")]),
        "is a folder with content",
    )
    yield "NUL", zip_of(files("pets/a.png\0.exe")), "has a control character in its name"
    yield "litter alone", zip_of(files(".a", "__MACOSX/1.png")), "holds no file to unpack"
    yield "nothing", zip_of([]), "holds no file to unpack"


def patched(content: bytes, at: int, form: str, *values: int) -> bytes:
    """`content` with other numbers `at` a place."""
    changed = bytearray(content)
    struct.pack_into(f"<{form}", changed, at, *values)
    return bytes(changed)


def _hostile_tars() -> Iterator[tuple[str, bytes, str]]:
    honest, damaged = tar_of(HONEST), "is not whole or damaged"
    headers = [at for at in range(0, len(honest), 512) if honest.startswith(b"ustar", at + 257)]
    for at in headers:
        yield f"checksum at {at}", patched(honest, at + 100, "B", ord("1")), damaged
    yield "signature", b"\0" * 512 + honest[512:], damaged
    end = honest.index(bytes(1024), headers[-1] + 512) // 512 * 512 + 512
    yield "no end", honest[:end], damaged
    yield "half an end", honest[: end + 512], damaged
    yield "two in one", honest + honest, "a tar goes on after its end"
    yield "behind the end", honest + b"x", "a tar goes on after its end"
    yield "zeros behind the end", honest + bytes(MOST_PADDING), "a tar goes on with zeros"
    yield "no member", bytes(10240), damaged
    yield "litter alone", tar_of(files(".a", "__MACOSX/1.png")), "holds no file to unpack"
    for size in (2**33, 2**63, 2**87):
        yield f"size {size}", _header("pets/a", size) + honest, "gives more than"
    yield "negative size", _header("pets/a", -1) + honest, damaged
    yield "no number", _reckoned(b"pets/a", b"12345678x00\0") + honest, damaged
    yield (
        "folder's content",
        _header("pets/a/", 3, b"5") + b"abc".ljust(512, b"\0") + honest,
        ("is a folder with content"),
    )
    for kind in (b"x", b"g", b"L", b"K"):
        content = _header("pets/a", 2**24, kind) + bytes(2**24) + honest
        yield f"large header {kind}", content, "has a header of 16,777,216 bytes"
    for record in (
        b"9 path=a",
        b"99 path=a\n",
        b"path=a\n",
        b"9 pathxa\n",
        b"0 \n",
        b"3 \n",
        b"-9 path=a\n",
    ):
        yield f"record {record}", _extended(record) + honest, damaged
    yield "size in words", _extended(b"12 size=two\n") + honest, damaged
    yield "size of 2^70", _extended(b"31 size=1180591620717411303424\n") + honest, damaged
    yield "path upwards", _extended(b"13 path=../a\n") + honest, 'leads out of its folder by ".."'
    yield "path with NUL", _extended(b"12 path=a\0b\n") + honest, "has a control character"
    yield "sparse", _extended(b"22 GNU.sparse.major=1\n") + honest, "is a sparse file"
    yield "path of all", _extended(b"10 path=a\n", b"g") + honest, "has one name or size for all"
    long_name = _header("././@LongLink", 5, b"L") + b"../a\0".ljust(512, b"\0") + honest
    yield "long name upwards", long_name, 'leads out of its folder by ".."'
    yield (
        "prefix upwards",
        _reckoned(b"a", prefix=b"..") + honest,
        'leads out of its folder by ".."',
    )


def _extended(record: bytes, kind: bytes = b"x") -> bytes:
    return _header("pax", len(record), kind) + record.ljust(512, b"\0")


def _header(name: str, size: int, kind: bytes = b"0") -> bytes:
    if 0 <= size < 2**33:
        return _reckoned(name.encode(), b"%011o\0" % size, kind)
    sign = b"\x80" if size > 0 else b"\xff"
    return _reckoned(name.encode(), sign + (size % 2**88).to_bytes(11, "big"), kind)


def _reckoned(
    name: bytes, size: bytes = b"00000000000\0", kind: bytes = b"0", prefix: bytes = b""
) -> bytes:
    """A header of a tar with a checksum that fits."""
    parts = struct.pack(
        "100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x",
        name, b"0000644\0", b"0000000\0", b"0000000\0", size, b"00000000000\0", b" " * 8, kind,
        b"", b"ustar\x0000", b"", b"", b"0000000\0", b"0000000\0", prefix,
    )  # fmt: skip
    return parts[:148] + b"%06o\0 " % sum(parts) + parts[156:]
