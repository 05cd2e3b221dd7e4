"""Read the directory of a zip, and what is in it, strictly.

The standard library's zipfile is kind: it takes "../a" for "a", ends a name at a NUL, and reads a
directory of any length into memory. Here all that a zip says of itself twice must agree.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import constants
from pipeline.archive_formats.member import FILE, FOLDER, Damaged, Member, Refused, read_exactly

BEGINNINGS = (b"PK\3\4", b"PK\5\6")  # of a zip; the second of one without members
CHUNK = 2**18  # bytes that are read or inflated at a time
TYPES = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
END = struct.Struct("<4s4H2LH")
LOCATOR_64 = struct.Struct("<4sLQL")
END_64 = struct.Struct("<4sQ2H2L4Q")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
IN_64 = 0xFFFFFFFF  # is there where the number is in an extra field
ENCRYPTED = 1 | 1 << 6 | 1 << 13  # flags
SIZES_FOLLOW, UTF_8 = 1 << 3, 1 << 11
STORED, DEFLATED = 0, 8


@dataclass(slots=True)
class ZipMember(Member):
    start: int  # first of its header, then of its data
    packed: int  # bytes
    crc: int
    method: int
    flags: int
    raw_name: bytes


def read_zip(descriptor: int) -> list[ZipMember]:
    """All members, in the order of their data, with all their headers checked."""
    directory_start, count, directory = _directory(descriptor, os.fstat(descriptor).st_size)
    members = sorted(_central_headers(directory, count), key=lambda member: member.start)
    end = 0
    for member in members:
        if member.start < end:
            raise Refused("unsafe", "overlaps with the one before it", member.name)
        _check_local_header(descriptor, member)
        end = member.start + member.packed
        if end > directory_start:
            raise Damaged("it reaches into the directory", member.name)
    return members


def _directory(descriptor: int, packed: int) -> tuple[int, int, bytes]:
    """Where the directory begins, how many members it lists, and its bytes."""
    tail_size = min(packed, LOCATOR_64.size + END.size + 0xFFFF)
    tail = read_exactly(descriptor, tail_size, packed - tail_size)
    at = tail.rfind(b"PK\5\6")
    if not 0 <= at <= tail_size - END.size:
        raise Damaged("a zip's directory is not at its end")
    _, *disks, count, total, size, start, comment = END.unpack_from(tail, at)
    end = packed - tail_size + at
    if at + END.size + comment != tail_size:
        raise Damaged("a zip's directory is not at its end")
    at_64 = at - LOCATOR_64.size
    if at_64 >= 0 and tail.startswith(b"PK\6\7", at_64):
        _, disk, at, _ = LOCATOR_64.unpack_from(tail, at_64)
        record = read_exactly(descriptor, END_64.size, min(at, packed))
        signature, length, _, _, *disks_64, count_64, total_64, size_64, start_64 = END_64.unpack(
            record
        )
        end -= LOCATOR_64.size
        known = zip(
            (count, total, size, start), (count_64, total_64, size_64, start_64), strict=True
        )
        same = all(small in (large, 0xFFFF, IN_64) for small, large in known)
        if signature != b"PK\6\6" or at + 12 + length != end or not same:
            raise Damaged("a zip's directory is not at its end")
        disks, end = [disk, *disks_64], at
        count, total, size, start = count_64, total_64, size_64, start_64
    if any(disks) or count != total:
        raise Refused("unsupported", "is one part of several")
    if start + size != end:
        raise Damaged("a zip's directory is not where its end says")
    if size > constants.MOST_DIRECTORY_BYTES or count > constants.MOST_UNPACKED_FILES:
        raise Refused("too_large", "holds more files and folders than are allowed")
    return start, count, read_exactly(descriptor, size, start)


def _central_headers(directory: bytes, count: int) -> Iterator[ZipMember]:
    offset = 0
    for _ in range(count):
        if len(directory) < offset + CENTRAL.size or not directory.startswith(b"PK\1\2", offset):
            raise Damaged("a zip's directory has no header where one should be")
        _, _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, mode, start = (
            CENTRAL.unpack_from(directory, offset)
        )
        name_end = offset + CENTRAL.size + lengths[0]
        raw = directory[offset + CENTRAL.size : name_end]
        extra = directory[name_end : name_end + lengths[1]]
        offset = name_end + lengths[1] + lengths[2]
        name = _name(raw, flags)
        size, packed, start = _large([size, packed, start], extra, name)
        what = FOLDER if name.endswith("/") else FILE
        what = TYPES.get(stat.S_IFMT(mode >> 16), what)
        if flags & ENCRYPTED:
            raise Refused("unsupported", "is encrypted", name)
        if method not in (STORED, DEFLATED):
            reason = f"is compressed by method {method}, expected {STORED} or {DEFLATED} (deflate)"
            raise Refused("unsupported", reason, name)
        if what == FOLDER and size:
            raise Refused("unsafe", "is a folder with content of its own", name)
        yield ZipMember(name, what, size, start, packed, crc, method, flags, raw)
    if offset != len(directory):
        raise Damaged("a zip's directory is not as long as its end says")


def _name(raw: bytes, flags: int) -> str:
    """As UTF-8, which many tools write without saying so, else as the format's first standard has it."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        if flags & UTF_8:
            raise Damaged("its name is no UTF-8", raw.decode("cp437")) from None
        return raw.decode("cp437")


def _large(numbers: list[int], extra: bytes, name: str) -> list[int]:
    """The numbers, where those of 4 GB and more are in an extra field."""
    if IN_64 not in numbers:
        return numbers
    offset = 0
    while offset + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, offset)
        if kind == 1:
            fields = struct.iter_unpack("<Q", extra[offset + 4 : offset + 4 + length // 8 * 8])
            try:
                return [next(fields)[0] if one == IN_64 else one for one in numbers]
            except (StopIteration, struct.error):
                break
        offset += 4 + length
    raise Damaged("its size is missing", name)


def _check_local_header(descriptor: int, member: ZipMember) -> None:
    """See that it says what the directory says, and set where the data begins."""
    header = read_exactly(descriptor, LOCAL.size + len(member.raw_name), member.start, member.name)
    signature, _, flags, method, _, _, crc, packed, size, length, more = LOCAL.unpack_from(header)
    name_end = member.start + LOCAL.size + length
    if IN_64 in (size, packed):
        extra = read_exactly(descriptor, more, name_end, member.name)
        size, packed = _large([size, packed], extra, member.name)
    said, expected = (crc, packed, size), (member.crc, member.packed, member.size)
    sizes_follow = flags & SIZES_FOLLOW and member.flags & SIZES_FOLLOW
    if (
        (signature, method, length) != (b"PK\3\4", member.method, len(member.raw_name))
        or header[LOCAL.size :] != member.raw_name
        or (flags ^ member.flags) & ENCRYPTED
        or (said != expected and not (sizes_follow and not any(said)))
    ):
        raise Damaged("its header differs from what the directory says", member.name)
    member.start = name_end + more


def zip_content(descriptor: int, member: ZipMember) -> Iterator[bytes]:
    """What `member` gives, in pieces.

    Raises:
        Damaged: it is not as long as the directory says, or has another checksum.
    """
    given = crc = 0
    packed = _packed(descriptor, member)
    for piece in packed if member.method == STORED else _inflated(packed, member.name):
        given += len(piece)
        crc = zlib.crc32(piece, crc)
        if given > member.size:
            break
        yield piece
    if given != member.size:
        raise Damaged("it gives another number of bytes than it says", member.name)
    if crc != member.crc:
        raise Damaged("its checksum is wrong", member.name)


def _packed(descriptor: int, member: ZipMember) -> Iterator[bytes]:
    start, end = member.start, member.start + member.packed
    while start < end:
        yield read_exactly(descriptor, min(end - start, CHUNK), start, member.name)
        start += CHUNK


def _inflated(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    inflater = zlib.decompressobj(wbits=-15)
    for chunk in chunks:
        packed, piece = chunk, b""
        while packed or len(piece) == CHUNK:  # all is read, but not all of it is out
            try:
                piece = inflater.decompress(packed, CHUNK)
            except zlib.error as error:
                raise Damaged(str(error), name) from None
            packed = inflater.unconsumed_tail
            yield piece
        if inflater.unused_data:
            raise Damaged("something follows its end", name)
    if not inflater.eof:
        raise Damaged("it ends too soon", name)
