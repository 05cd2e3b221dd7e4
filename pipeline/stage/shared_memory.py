"""Memory that processes share: a file without a name, which lasts as long as one of them has it open."""

import os
import tempfile


def create(size: int = 0) -> int:
    """The descriptor of a new one of `size` bytes: in memory, where the system has such files."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pixels")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
