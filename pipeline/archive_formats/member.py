"""What the readers of archives have in common: a member, and why an archive is refused."""

import os
from dataclasses import dataclass

FILE, FOLDER = "a file", "a folder"


class Refused(Exception):
    """Why an archive is not unpacked: as the end of a sentence about it, or about one `member`."""

    def __init__(self, kind: str, reason: str, member: str = ""):
        super().__init__(kind, reason, member)
        self.kind, self.reason, self.member = kind, reason, member


class Damaged(Refused):
    def __init__(self, reason: str, member: str = ""):
        super().__init__("damaged", f"is not whole or damaged: {reason}", member)


@dataclass(slots=True)
class Member:
    """What an archive says of one file or folder in it; `what` is FILE, FOLDER, or any other thing."""

    name: str
    what: str
    size: int  # bytes that it is to give


def read_exactly(descriptor: int, size: int, start: int, member: str = "") -> bytes:
    content = os.pread(descriptor, size, start)
    if len(content) != size:
        raise Damaged("it ends too soon", member)
    return content
