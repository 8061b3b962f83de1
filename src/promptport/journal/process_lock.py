"""A lock that one process holds for a run, and that ends with it, however it ends.

How: one byte of a file beside the journal, locked by the operating system. Such locks know processes, and not who
within one asks, so this module remembers what its own process holds, and never closes a file of which it holds a lock.
"""

from __future__ import annotations

import os
import sys
import threading

__all__ = ["ProcessLock"]

_files: dict[str, tuple[int, int, set[int]]] = {}
"""By path: the process that opened it, its descriptor, the bytes that are held."""
_guard = threading.Lock()


class ProcessLock:
    """One byte of the file ``path``."""

    def __init__(self, path: str, number: int) -> None:
        self._path = os.path.realpath(path)
        self._number = number

    def take(self) -> bool:
        """Take it, without waiting; ``False`` if somebody has it, in this process or another."""
        with _guard:
            pid, descriptor, held = _files.get(self._path, (0, -1, set()))
            if pid != os.getpid():  # a fork has the parent's descriptor, and none of its locks
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
                descriptor, held = os.open(self._path, flags, 0o600), set()
                _files[self._path] = (os.getpid(), descriptor, held)
            if self._number in held or not _lock(descriptor, self._number):
                return False
            held.add(self._number)
            return True

    def release(self) -> None:
        """Let go of it."""
        with _guard:
            pid, descriptor, held = _files.get(self._path, (0, -1, set()))
            if pid == os.getpid() and self._number in held:
                held.discard(self._number)
                _unlock(descriptor, self._number)
                if not held:
                    os.close(descriptor)
                    del _files[self._path]


if sys.platform == "win32":  # pragma: no cover - Windows
    import msvcrt

    def _lock(descriptor: int, number: int) -> bool:
        os.lseek(descriptor, number, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int, number: int) -> None:
        os.lseek(descriptor, number, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int, number: int) -> bool:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int, number: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, number)
