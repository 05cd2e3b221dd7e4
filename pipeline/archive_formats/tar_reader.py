"""Read a tar, compressed or not, strictly, from its begin to its end.

The standard library's tarfile is kind: it takes a damaged header for the end of the archive, and reads an
extended header of any length into memory. Here nothing but a chunk and one header is ever in memory.
"""

import bz2
import importlib
import lzma
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import constants
from pipeline.archive_formats.member import FILE, FOLDER, Damaged, Member, Refused

CHUNK = 2**18  # bytes that are read or decompressed at a time
BLOCK = 512
END = bytes(2 * BLOCK)
MOST_PADDING = 2**20  # bytes behind the end; the largest record that tar writes
MOST_HEADER = 2**20  # bytes of an extended one: a path, and attributes that are not looked at
PAX, PAX_FOR_ALL, LONG_NAME, LONG_LINK = b"x", b"g", b"L", b"K"
TYPES = {
    **dict.fromkeys((b"0", b"\0", b"7"), FILE),
    b"5": FOLDER,
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
}
WITHOUT_CONTENT = (
    b"1",
    b"2",
    b"3",
    b"4",
    b"6",
)  # though a link's header may give the size of its target
RECORD = re.compile(rb"(\d{1,7}) ")


def read_tar(
    descriptor: int, limit: Callable[[int], object]
) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Each member and its content, which can be read until the next one is asked for.

    `limit` is called with the number of bytes that came out of the decompression so far.
    """
    stream = _Stream(_chunks(descriptor), limit)
    fields: dict[str, bytes] = {}  # of the next member, from the headers that extend its own
    is_empty = True
    while (header := stream.read(BLOCK)) != END[:BLOCK]:
        is_empty = False
        kind, size = _type_and_size(header)
        if kind in (PAX, PAX_FOR_ALL, LONG_NAME, LONG_LINK):
            if size > MOST_HEADER:
                raise Refused("too_large", f"has a header of {size:,} bytes")
            content = stream.read(size)
            stream.read(-size % BLOCK)
            if kind == LONG_NAME:
                fields["path"] = content.removesuffix(b"\0")
            elif kind != LONG_LINK:
                extended = _pax_fields(content)
                if kind == PAX_FOR_ALL and extended:
                    raise Refused("unsupported", "has one name or size for all its members")
                fields |= extended
            continue
        member = _member(header, kind, size, fields)
        fields = {}
        content_left = stream.pieces(member.size)
        yield member, content_left
        for _ in content_left:
            pass
        stream.read(-member.size % BLOCK)
    if is_empty:
        raise Damaged("it begins with zeros")  # as a copy does that set its room aside first
    if stream.read(BLOCK) != END[BLOCK:]:
        raise Damaged("a tar's end is no end")
    stream.expect_zeros()


def _type_and_size(header: bytes) -> tuple[bytes, int]:
    checksum = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    if _number(header[148:156]) != checksum:
        raise Damaged("a tar has no header where one should be")
    return header[156:157], _number(header[124:136])


def _number(field: bytes) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    if not re.fullmatch(b"[0-7]*", digits):
        raise Damaged("a tar's header has no number where one should be")
    return int(digits or b"0", 8)


def _member(header: bytes, kind: bytes, size: int, fields: dict[str, bytes]) -> Member:
    name = header[:100].partition(b"\0")[0]
    if header.startswith(b"ustar\0", 257) and header[345]:
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    name = fields.get("path", name)
    shown = name.decode("utf-8", "surrogateescape")
    what = TYPES.get(kind, "of an unknown type")
    if any(key.startswith("GNU.sparse.") for key in fields):
        what = TYPES[b"S"]
    if what == FILE and shown.endswith("/"):
        what = FOLDER  # as it was before there was a type for it
    if "size" in fields:
        if not re.fullmatch(rb"\d{1,19}", fields["size"]):
            raise Damaged("its size is no number", shown)
        size = int(fields["size"])
    if what == FOLDER and size:
        raise Refused("unsafe", "is a folder with content of its own", shown)
    return Member(shown, what, 0 if kind in WITHOUT_CONTENT else size)


def _pax_fields(content: bytes) -> dict[str, bytes]:
    """Those of an extended header that say where a member is, or how long."""
    fields, start = {}, 0
    while start < len(content):
        length = RECORD.match(content, start)
        end = start + int(length[1]) if length else 0
        if not length or not length.end() < end <= len(content) or content[end - 1 : end] != b"\n":
            raise Damaged("a tar's extended header is cut off")
        key, equals, value = content[length.end() : end - 1].partition(b"=")
        if not equals:
            raise Damaged("a tar's extended header has a value without a name")
        if key in (b"path", b"size") or key.startswith(b"GNU.sparse."):
            fields[key.decode("ascii", "replace")] = value
        start = end
    return fields


class _Stream:
    """Chunks as one file, read once from its begin to its end."""

    def __init__(self, chunks: Iterator[bytes], limit: Callable[[int], object]):
        self._chunks, self._limit = chunks, limit
        self._chunk, self._at, self._total = b"", 0, 0

    def read(self, size: int) -> bytes:
        end = self._at + size
        if end <= len(self._chunk):  # as nearly always
            content, self._at = self._chunk[self._at : end], end
            return content
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, as they come."""
        while size:
            if self._at == len(self._chunk) and not self._next():
                raise Damaged("it ends too soon")
            piece = self._chunk[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def expect_zeros(self) -> None:
        """To the end: only there it is known whether a checksum fits."""
        zeros = len(self._chunk) - self._at
        while zeros <= MOST_PADDING:
            if self._chunk.count(0, self._at) != len(self._chunk) - self._at:
                raise Damaged("a tar goes on after its end")
            if not self._next():
                return
            zeros += len(self._chunk)
        # So does what looks like its end, where a copy sets room aside before it fills it.
        raise Damaged("a tar goes on with zeros after its end")

    def _next(self) -> bool:
        self._chunk, self._at = next(self._chunks, b""), 0
        self._total += len(self._chunk)
        self._limit(self._total)
        return bool(self._chunk)


class _Gunzip:
    """zlib's decompressor with the methods that those of the other formats have."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)
        self.needs_input = True

    def decompress(self, content: bytes, most: int) -> bytes:
        piece = self._inflater.decompress(self._inflater.unconsumed_tail + content, most)
        self.needs_input = len(piece) < most and not self._inflater.unconsumed_tail
        return piece

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data


def _unxz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, constants.DECOMPRESSOR_MEMORY)


def _unzstd() -> Any:
    """Its own bound on memory is half of that of xz."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return importlib.import_module(name).ZstdDecompressor()


BEGINNINGS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": _Gunzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": _unxz,
    b"\x28\xb5\x2f\xfd": _unzstd,
    b"\x50\x2a\x4d\x18": _unzstd,  # as pzstd begins, with a frame to skip
}


def _chunks(descriptor: int) -> Iterator[bytes]:
    """What is in the file, decompressed if it begins as something compressed does."""
    stored = _stored_chunks(descriptor)
    beginning = os.pread(descriptor, 8, 0)
    for magic, decompressor in BEGINNINGS.items():
        if beginning.startswith(magic):
            return _decompressed(stored, decompressor)
    return stored


def _stored_chunks(descriptor: int) -> Iterator[bytes]:
    start = 0
    while chunk := os.pread(descriptor, CHUNK, start):
        start += len(chunk)
        yield chunk


def _decompressed(stored: Iterator[bytes], new: Callable[[], Any]) -> Iterator[bytes]:
    """Several streams, one behind the other, are one; zeros may lie behind each."""
    chunk = b""
    while chunk := chunk or next(stored, b""):
        if not (chunk := chunk.lstrip(b"\0")):
            continue
        decompressor = new()
        while not decompressor.eof:
            try:
                piece = decompressor.decompress(chunk, CHUNK)
            except Exception as error:  # each library has an own one, and bz2 takes OSError
                raise Damaged(f"it cannot be decompressed ({error})") from None
            chunk = b""
            if piece:
                yield piece
            if not decompressor.eof and decompressor.needs_input:
                chunk = next(stored, b"")
                if not chunk:
                    raise Damaged("it ends too soon")
        chunk = decompressor.unused_data
