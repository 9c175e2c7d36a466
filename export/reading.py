"""Files that somebody else wrote: read whole, without following a link, waiting for a writer or filling the memory."""

import os
import stat
from pathlib import Path

# Neither flag exists on Windows, where a link needs a privilege and a FIFO is no file.
_CAREFULLY = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_IFLNK: "is a symbolic link, not a file",
    stat.S_IFDIR: "is a directory, not a file",
    stat.S_IFIFO: "is a FIFO, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
}


def read(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises ValueError that says why it is not read.

    A hard link is a file like any other: it is the content that counts, and whoever promised it checks its hash.
    """
    try:
        # First without opening: to open a device can do something, and O_NOFOLLOW has no name for what it met.
        _refuse_other_kinds(path.lstat().st_mode)
        descriptor = os.open(path, _CAREFULLY)
    except FileNotFoundError:
        raise ValueError("is missing") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    with os.fdopen(descriptor, "rb") as file:
        # Again, of what was really opened: it may have been put in the other's place in between.
        status = os.fstat(descriptor)
        _refuse_other_kinds(status.st_mode)
        # One byte more than there was, since it may be growing; never what was promised, which may be gigabytes.
        content = file.read(min(status.st_size, most) + 1)
    if len(content) > most:
        raise ValueError(f"is larger than the {most:,} bytes it may have")
    return content


def _refuse_other_kinds(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ValueError(_KINDS.get(stat.S_IFMT(mode), "is not a file"))
