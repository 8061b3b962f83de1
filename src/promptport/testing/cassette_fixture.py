"""What the pytest fixture ``cassette`` gives: a cassette that is played, or recorded, as ``--record`` says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from promptport.errors import InvalidInputError
from promptport.testing.cassette import Cassette
from promptport.testing.recorder import Recorder

__all__ = ["CassetteFixture"]


class CassetteFixture:
    """One test's cassettes; see the fixture."""

    def __init__(self, mode: str, module: Path, test: str) -> None:
        """Made by the fixture: the value of ``--record``, the test's file and its name."""
        self._mode = mode
        self._folder = module.parent / "cassettes" / module.stem
        self._test = re.sub(r"[^A-Za-z0-9_.-]+", "-", test).strip("-")
        self._used: set[str] = set()

    def path(self, name: str = "") -> Path:
        """The file of this test's cassette, or of its cassette of this name."""
        return self._folder / f"{self._test}{'-' if name else ''}{name}.json"

    @asynccontextmanager
    async def __call__(
        self,
        upstream: str,
        *,
        name: str = "",
        scrub: Iterable[str] = (),
        secrets: Iterable[str] = (),
        **play: Any,
    ) -> AsyncIterator[str]:
        """The address to point a client at instead of ``upstream``.

        Args:
            upstream: The real server's address.
            name: Tells several cassettes of one test apart.
            scrub: As in `Recorder`.
            secrets: As in `Recorder`.
            play: As in `Cassette.play`.

        Raises:
            InvalidInputError: Two cassettes of one name in a test; or there is none, and ``--record`` is ``none``.
        """
        if name in self._used:
            raise InvalidInputError("cassette(): the test uses this name already. Pass name= to tell them apart.")
        self._used.add(name)
        path = self.path(name)
        if self._mode == "all" or (self._mode == "once" and not path.exists()):
            async with Recorder(upstream, to=path, scrub=scrub, secrets=secrets) as recorder:
                yield recorder.url
        else:
            async with Cassette.load(path).play(**play) as server:
                yield server.url
