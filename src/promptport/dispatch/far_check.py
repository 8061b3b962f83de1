"""A check of arguments that might take long, in a process of its own that can be ended.

Rule: the library that checks holds the interpreter's lock, so a thread would not help. Whoever waits decides how long;
when the wait ends, so does the process.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec

from promptport.errors import InvalidToolArgumentsError
from promptport.tools import SchemaCheck

__all__ = ["check_far"]

_CHILD = """
import pickle, sys
path, job = pickle.load(sys.stdin.buffer)
sys.path[:] = path
check, arguments = pickle.loads(job)
try:
    check(arguments)
except Exception as error:
    sys.stdout.buffer.write(str(error).encode("utf-8", "replace"))
"""


async def check_far(check: SchemaCheck, arguments: str) -> dict[str, Any]:
    """The values for an argument text, as ``check(arguments)`` gives them.

    Raises:
        InvalidToolArgumentsError: They do not fit.
    """
    import pickle  # noqa: PLC0415 - for this alone, and slow to import
    from asyncio.subprocess import DEVNULL, PIPE  # noqa: PLC0415

    if getattr(sys, "frozen", False) or not sys.executable:  # there is no interpreter to start
        raise InvalidToolArgumentsError("the arguments are too large to be checked; send less", tool=check.name)
    job = pickle.dumps((sys.path, pickle.dumps((check, arguments))))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", _CHILD, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    try:
        said, _ = await process.communicate(job)
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.shield(process.wait())
    if process.returncode:
        raise InvalidToolArgumentsError("the arguments could not be checked: the check ended early", tool=check.name)
    if said:
        raise InvalidToolArgumentsError(said.decode(), tool=check.name)
    return msgspec.json.decode(arguments, type=dict[str, Any])
