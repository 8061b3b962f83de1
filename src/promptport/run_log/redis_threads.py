"""`RedisThreadStore` and `RedisPauseStore`: what the processes of one server must know together, besides the run log.

Rule: a pause is taken once, whichever process is asked; what is kept of a conversation expires.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING, Any

from promptport.errors import InvalidInputError
from promptport.run_log.log import check_name
from promptport.run_log.redis_connection import away_errors, connected, unusable

if TYPE_CHECKING:
    import redis.asyncio as redis

__all__ = ["RedisPauseStore", "RedisThreadStore", "shared_secret"]

_WEEK = 604_800.0


class _Shared:
    def __init__(
        self, address: str | redis.Redis, *, keep: float = _WEEK, timeout: float = 1.0, prefix: str = "pp"
    ) -> None:
        """Make a store.

        Args:
            address: Where Redis is, such as `"redis://localhost:6379"`, or a client of yours, which stays open.
            keep: Seconds that an entry is kept. Default: a week.
            timeout: Seconds to wait for Redis. Default: 1.0.
            prefix: What the keys begin with. Default: `"pp"`.

        Raises:
            ConfigurationError: The package `redis` is not installed, or the address is none.
            InvalidInputError: A number is out of its range.
        """
        name = type(self).__name__
        if not (keep > 0 and timeout > 0):
            raise InvalidInputError(f"{name}: keep={keep!r} or timeout={timeout!r} is not over 0 s.")
        self._redis, self._own = connected(address, timeout=timeout, where=name)
        self._errors = away_errors()
        self._keep = int(keep * 1000)
        self._timeout = timeout
        self._prefix = check_name(prefix, what="prefix")

    async def _ask(self, command: str, *args: Any, **options: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await getattr(self._redis, command)(*args, **options)
        except self._errors as error:
            raise unusable(error, where=type(self).__name__) from error

    async def aclose(self) -> None:
        """Close the connections, if the store made them."""
        if self._own:
            await self._redis.aclose()


class RedisThreadStore(_Shared):
    """A `ThreadStore` for several processes: what waits for a decision in one can be decided at another.

    Examples:
        ```py
        from promptport.run_log.redis import RedisRunLog, RedisThreadStore

        url = "redis://localhost:6379"
        routes = chat_routes(choose, log=RedisRunLog(url), threads=RedisThreadStore(url))
        ```
    """

    async def put(self, thread: str, kept: bytes) -> None:
        """See `ThreadStore.put`. Raises `ConfigurationError` where Redis is away."""
        await self._ask("set", self._key(thread), kept, px=self._keep)

    async def get(self, thread: str) -> bytes | None:
        """See `ThreadStore.get`. Raises `ConfigurationError` where Redis is away."""
        found = await self._ask("get", self._key(thread))
        return found.encode() if isinstance(found, str) else found

    def _key(self, thread: str) -> str:
        return f"{self._prefix}:kept:{hashlib.sha256(thread.encode('utf-8', 'surrogatepass')).hexdigest()}"


class RedisPauseStore(_Shared):
    """A `PauseStore` for several processes: each pause is resumed once, whichever process is asked.

    Examples:
        ```py
        import promptport as pp
        from promptport.run_log.redis import RedisPauseStore

        dispatcher = pp.ToolDispatcher(executor, tools, store=RedisPauseStore("redis://localhost:6379"))
        ```
    """

    async def take(self, id: str) -> bool:
        """See `PauseStore.take`. Raises `ConfigurationError` where Redis is away: then nobody takes it."""
        name = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
        return bool(await self._ask("set", f"{self._prefix}:taken:{name}", b"1", nx=True, px=self._keep))


class _Secret(_Shared):
    async def get(self) -> bytes:
        name = f"{self._prefix}:secret"
        await self._ask("set", name, secrets.token_hex(32), nx=True)
        found = await self._ask("get", name)
        return found.encode() if isinstance(found, str) else bytes(found)


async def shared_secret(address: str | redis.Redis, *, prefix: str = "pp") -> bytes:
    """The secret that all processes at this Redis have in common, for an `OpaqueSeal`; made by the first of them.

    Args:
        address: Where Redis is, or a client of yours, which stays open.
        prefix: What the keys begin with. Default: `"pp"`.

    Raises:
        ConfigurationError: Redis cannot be used.
    """
    store = _Secret(address, prefix=prefix)
    try:
        return await store.get()
    finally:
        await store.aclose()
