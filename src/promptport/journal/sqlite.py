"""`SqliteJournal`: the journal in a file, with the standard library alone; safe for several processes of one machine.

Rules: a record is written once, and belongs to the attempt that holds the run; a run is held by one process at a time,
by a lock that ends with the process; whoever lost it writes nothing any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from promptport.errors import ConfigurationError, InvalidInputError
from promptport.journal.process_lock import ProcessLock

__all__ = ["JournaledRun", "SqliteJournal"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, attempt INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'unfinished', created REAL NOT NULL, updated REAL NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    run INTEGER NOT NULL REFERENCES runs (id), key TEXT NOT NULL, value BLOB NOT NULL, written REAL NOT NULL,
    PRIMARY KEY (run, key)) WITHOUT ROWID;
"""
_INSERT = """
INSERT INTO records (run, key, value, written)
SELECT id, ?, ?, ? FROM runs WHERE id = ? AND attempt = ? AND state != 'stopped'
"""
_KIND = """
SELECT user_version, (SELECT group_concat(name) FROM sqlite_master WHERE type = 'table') FROM pragma_user_version
"""
_PAUSE_SECONDS = 0.005

RunState = Literal["unfinished", "finished", "stopped"]


class JournaledRun(msgspec.Struct, frozen=True):
    """A run of a journal.

    Attributes:
        run: Its name.
        state: `unfinished`, `finished`, or `stopped` by `SqliteJournal.stop`.
        attempt: How often it was taken up.
        records: How many records it has.
        created: When it began, in seconds since 1970.
        updated: When it was taken up last, or ended.
    """

    run: str
    state: RunState
    attempt: int
    records: int
    created: float
    updated: float


class SqliteJournal:
    """A journal in an SQLite file.

    Open it for a run, run the program, and the records of the run are kept. If the process dies, open it again under
    the same name, and run the same program: what was recorded is not done again.

    Examples:
        ```py
        import promptport as pp
        from promptport.journal import SqliteJournal
        from promptport.testing import ScriptedExecutor

        executor, model = ScriptedExecutor(["Hello"]), pp.LLModel("scripted", "m")
        with SqliteJournal("runs.db", "order-17") as journal:
            async with pp.ToolDispatcher(executor, journal=journal).stream("Hi", model) as stream:
                print((await stream.message()).text)
            print(journal.unfinished())
        ```
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        run: str | None = None,
        *,
        power_safe: bool = False,
        timeout: float = 10.0,
        max_bytes: int = 64 << 20,
    ) -> None:
        """Open the file, and take the run.

        Args:
            path: The file; it is made if it is not there. A file beside it, `PATH-lock`, holds the locks. Not for
                network file systems.
            run: The run's name, up to 200 characters. Default: none, to look at all runs.
            power_safe: Wait for the disk at each record, so that a power cut loses none. Default: records survive the
                death of the process, and a power cut might lose the last ones.
            timeout: Seconds to wait for other processes that write. Default: 10.0.
            max_bytes: The largest record. Default: 64 MiB.

        Raises:
            InvalidInputError: Another process, or this one, holds the run; the run was stopped; a name, path or number
                that cannot be used.
            ConfigurationError: The file cannot be opened, or is not a journal.
        """
        if run is not None and not (isinstance(run, str) and 0 < len(run) <= 200 and run.isprintable()):
            raise InvalidInputError(
                f"SqliteJournal: the run {str(run)[:40]!r} is not usable. Use 1 to 200 printable characters."
            )
        if not timeout >= 0 or max_bytes < 1:
            raise InvalidInputError(
                f"SqliteJournal: timeout={timeout!r} and max_bytes={max_bytes!r} are not usable. Pass 0 or more "
                "seconds, and at least 1 byte."
            )
        self._path = _file(path)
        self._name = run
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._attempt = 0
        self._id = 0
        self._lock: ProcessLock | None = None
        self._kept: set[str] = set()
        try:
            self._database = self._open(power_safe)
        except sqlite3.Error as error:
            raise self._broken(error) from error
        if run is not None:
            try:
                self._take(run)
            except (sqlite3.Error, OSError) as error:  # the file of the locks may be the one that cannot be opened
                self.close()
                raise self._broken(error) from error
            except BaseException:
                self.close()
                raise
            self._database.execute("PRAGMA busy_timeout=0")  # from here on an event loop waits, see `_patiently`

    def _open(self, power_safe: bool) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            version, tables = database.execute(_KIND).fetchone()
            if version not in (0, _VERSION):
                raise ConfigurationError(
                    f"SqliteJournal: {self._path!r} has format {version}, and this promptport reads {_VERSION}. "
                    "Use the promptport that wrote it, or another file."
                )
            if (version == 0 and tables) or (version and not {"runs", "records"} <= set((tables or "").split(","))):
                raise ConfigurationError(
                    f"SqliteJournal: {self._path!r} is the database of another program, and is left as it is. "
                    "Pass another file."
                )
            self._write_ahead(database)
            database.execute(f"PRAGMA synchronous={'FULL' if power_safe else 'NORMAL'}")
            if version == 0:
                database.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={_VERSION};COMMIT;")
        except BaseException:
            database.close()
            raise
        return database

    def _write_ahead(self, database: sqlite3.Connection) -> None:
        """Has readers and a writer side by side; SQLite itself waits for nobody where it makes the file so."""
        until = time.monotonic() + self._timeout
        while True:
            try:
                database.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > until:
                    raise
            time.sleep(_PAUSE_SECONDS)

    def _take(self, run: str) -> None:
        now = time.time()
        execute = self._database.execute
        execute("INSERT OR IGNORE INTO runs (run, created, updated) VALUES (?, ?, ?)", (run, now, now))
        self._id = execute("SELECT id FROM runs WHERE run = ?", (run,)).fetchone()[0]
        lock = ProcessLock(f"{self._path}-lock", self._id)
        if not lock.take():
            raise InvalidInputError(
                f"SqliteJournal: the run {run!r} is running, in this process or another. Wait for its end, or stop it."
            )
        self._lock = lock
        state = execute("SELECT state FROM runs WHERE id = ?", (self._id,)).fetchone()[0]
        if state == "stopped":
            raise InvalidInputError(f"SqliteJournal: the run {run!r} was stopped. Start a run of another name.")
        self._attempt = execute(
            "UPDATE runs SET attempt = attempt + 1, updated = ? WHERE id = ? RETURNING attempt", (now, self._id)
        ).fetchone()[0]
        # Who holds the run is the only one who writes, so the keys are known from here on.
        self._kept = {key for (key,) in execute("SELECT key FROM records WHERE run = ?", (self._id,))}

    def _broken(self, error: sqlite3.Error | OSError) -> ConfigurationError:
        return ConfigurationError(
            f"SqliteJournal: {self._path!r} cannot be used: {error}. Check the path, its rights, and the space on disk."
        )

    # ------------------------------------------------------------------------------------------- the run

    @property
    def run(self) -> str:
        """The run's name; empty if none was given."""
        return self._name or ""

    @property
    def attempt(self) -> int:
        """How often the run was taken up, from 1."""
        return self._attempt

    def step(self, key: str) -> Callable[[Callable[[], Awaitable[bytes]]], Awaitable[bytes]]:
        """Draw the place of a record; see `Journal.step`.

        Args:
            key: What is recorded there.

        Returns:
            A function of the work. It raises `InvalidInputError` if another process took the run meanwhile, or it was
            stopped, and `ConfigurationError` if the file cannot be read or written.

        Raises:
            InvalidInputError: The journal was opened without a run, or is closed.
        """
        if self._lock is None:
            raise InvalidInputError("SqliteJournal: no run is open. Pass its name: SqliteJournal(path, run).")

        async def place(work: Callable[[], Awaitable[bytes]]) -> bytes:
            if key in self._kept:
                return bytes(await self._patiently(lambda: self._value(key)))
            value = await work()
            if len(value) > self._max_bytes:
                raise InvalidInputError(
                    f"SqliteJournal: the record {key!r} has {len(value):,} bytes, over max_bytes={self._max_bytes:,}. "
                    "Let tools return less, or raise max_bytes."
                )
            await self._patiently(lambda: self._write(key, value))
            return value

        return place

    def _value(self, key: str) -> bytes:
        query = "SELECT value FROM records WHERE run = ? AND key = ?"
        found = self._database.execute(query, (self._id, key)).fetchone() if self._lock is not None else None
        if found is None or not isinstance(found[0], bytes):
            raise InvalidInputError(
                f"SqliteJournal: the record {key!r} of the run {self.run!r} was changed by somebody, or the journal "
                "was closed. Take the run up from a file as promptport wrote it."
            )
        return found[0]

    def _write(self, key: str, value: bytes) -> None:
        written = 0
        if self._lock is not None:
            row = (key, value, time.time(), self._id, self._attempt)
            with contextlib.suppress(sqlite3.IntegrityError):  # it is there already, by somebody else
                written = self._last(row) if key == "end" else self._database.execute(_INSERT, row).rowcount
        if not written:
            raise InvalidInputError(
                f"SqliteJournal: the run {self.run!r} was taken up elsewhere, stopped or closed, so {key!r} is not "
                "recorded. Let one process run it."
            )
        self._kept.add(key)

    def _last(self, row: tuple[str, bytes, float, int, int]) -> int:
        """Writes the run's last record and that the run is over: both, or neither."""
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        try:
            written = execute(_INSERT, row).rowcount
            self._end("finished")
            execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                execute("ROLLBACK")
            raise
        return written

    def _end(self, state: RunState) -> None:
        query = "UPDATE runs SET state = ?, updated = ? WHERE id = ? AND attempt = ? AND state = 'unfinished'"
        self._database.execute(query, (state, time.time(), self._id, self._attempt))

    async def _patiently(self, work: Callable[[], Any]) -> Any:
        """Does a short piece of work on the file; waits for other processes without blocking the event loop."""
        until = time.monotonic() + self._timeout
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > until:
                    raise self._broken(error) from error
            except sqlite3.Error as error:
                raise self._broken(error) from error
            await asyncio.sleep(_PAUSE_SECONDS)

    def stop(self) -> None:
        """End the run as stopped: it is not listed by `unfinished`, and cannot be taken up again.

        If a stream of the run goes on in this process, it raises `InvalidInputError` at its next record. A run that is
        finished stays so.

        Raises:
            InvalidInputError: The journal was opened without a run, or is closed.
            ConfigurationError: The file cannot be written.
        """
        if self._lock is None:
            raise InvalidInputError("SqliteJournal: no run is open. Pass its name: SqliteJournal(path, run).")
        self._database.execute(f"PRAGMA busy_timeout={int(self._timeout * 1000)}")
        try:
            self._end("stopped")
            self._database.execute("PRAGMA busy_timeout=0")
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """Let go of the run and of the file. Closing twice does nothing."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------ all runs

    def runs(self) -> list[JournaledRun]:
        """All runs of the file, the oldest first."""
        rows = self._all(
            "SELECT run, state, attempt, (SELECT count(*) FROM records WHERE records.run = runs.id), created, updated"
            " FROM runs ORDER BY id"
        )
        return [JournaledRun(*row) for row in rows]

    def unfinished(self) -> list[str]:
        """The names of the runs that have not ended, the oldest first: take them up when the program starts.

        A run that another process runs now is among them; opening it raises `InvalidInputError`.
        """
        return [run for (run,) in self._all("SELECT run FROM runs WHERE state = 'unfinished' ORDER BY id")]

    def records(self, run: str) -> dict[str, bytes]:
        """The records of a run, by key, in the order in which they were written.

        Raises:
            InvalidInputError: There is no such run.
        """
        found = self._all("SELECT id FROM runs WHERE run = ?", run)
        if not found:
            raise InvalidInputError(f"SqliteJournal: there is no run {run!r} in {self._path!r}. See runs().")
        rows = self._all("SELECT key, value FROM records WHERE run = ? ORDER BY written, key", found[0][0])
        return {key: bytes(value) for key, value in rows}

    def _all(self, query: str, *values: Any) -> list[Any]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._broken(error) from error


def _file(path: str | os.PathLike[str]) -> str:
    try:
        name = os.fsdecode(path)
    except TypeError:
        name = ""
    if name in ("", ":memory:") or "\0" in name:
        raise InvalidInputError(
            f"SqliteJournal: path={path!r} is not a file, and only what stands in a file survives its process. "
            "Pass the path of a file."
        )
    return os.path.realpath(name)  # one lock for a run, however its file is called


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
