"""``promptport record --to FOLDER -- COMMAND``: runs a program whose SDKs talk to recorders.

Rule: the program is not changed. It is given the addresses of recorders by the environment variables that its SDKs
read, and its own exit code is the command's.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from promptport.errors import InvalidInputError
from promptport.testing.recorder import Recorder

__all__ = ["UPSTREAMS", "record_program"]

UPSTREAMS: Mapping[str, str] = {
    "ANTHROPIC_BASE_URL": "https://api.anthropic.com",
    "GOOGLE_GEMINI_BASE_URL": "https://generativelanguage.googleapis.com",
    "OLLAMA_HOST": "http://127.0.0.1:11434",
    "OPENAI_BASE_URL": "https://api.openai.com/v1",
}
"""The environment variables by which SDKs are told of an address, and the address that they have by default."""


async def record_program(
    folder: Path, command: Sequence[str], *, upstreams: Iterable[str] = (), scrub: Iterable[str] = ()
) -> tuple[int, list[Path]]:
    """Run a program, and record what it asks and gets.

    Args:
        folder: Where the cassettes are written, one for each server that was asked.
        command: The program and its arguments.
        upstreams: Further servers, each as `VARIABLE=ADDRESS`.
        scrub: As in `Recorder`.

    Returns:
        The program's exit code, and the files that were written.

    Raises:
        InvalidInputError: No command, one that cannot be started, or an upstream that is not `VARIABLE=ADDRESS`.
    """
    if not command:
        raise InvalidInputError("record: no command is given. Example: promptport record --to tapes -- python a.py.")
    addresses = {name: os.environ.get(name) or default for name, default in UPSTREAMS.items()}
    for one in upstreams:
        name, mark, address = one.partition("=")
        if not mark or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise InvalidInputError(f"record: {one!r} is not VARIABLE=ADDRESS.")
        addresses[name] = address
    async with AsyncExitStack() as stack:
        recorders = {
            name: await stack.enter_async_context(
                Recorder(address if "://" in address else f"http://{address}", scrub=scrub)
            )
            for name, address in addresses.items()
        }
        environment = {**os.environ, **{name: recorder.url for name, recorder in recorders.items()}}
        try:
            program = await asyncio.create_subprocess_exec(*command, env=environment)
        except OSError as error:
            raise InvalidInputError(f"record: {command[0]!r} cannot be started ({error.strerror}).") from None
        try:
            code = await program.wait()
        except BaseException:
            program.terminate()
            await program.wait()
            raise
        written = []
        for name, recorder in recorders.items():
            if recorder.interactions:
                path = folder / f"{name.lower().removesuffix('_base_url').removesuffix('_host')}.json"
                recorder.save(path)
                written.append(path)
        return code, written
