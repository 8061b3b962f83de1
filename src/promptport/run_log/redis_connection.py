"""How this room reaches Redis: a client from an address, and what it says of a Redis that cannot be used.

Rule: the package is imported by those who use it; an address, which may hold a password, is in no error.
"""

from __future__ import annotations

from typing import Any

from promptport.errors import ConfigurationError, InvalidInputError

__all__ = ["away_errors", "connected", "unusable"]

_WHY = {
    "AuthenticationError": "refused the password. Write the address like 'redis://USER:PASSWORD@HOST:6379'",
    "AuthenticationWrongNumberOfArgsError": "has users. Write the address like 'redis://USER:PASSWORD@HOST:6379'",
    "NoPermissionError": "does not allow its user what the run log does. Allow it scripts, streams and its keys",
    "ReadOnlyError": "is a replica that takes no writes. Write the address of the primary",
    "OutOfMemoryError": "has no memory left. Raise its maxmemory, or remove keys",
    "BusyLoadingError": "is loading its data. Try again later",
}
"""By the client's own classes."""


def connected(address: Any, *, timeout: float, where: str) -> tuple[Any, bool]:
    """A client of Redis, and whether it is the caller's to close.

    Args:
        address: Where Redis is, or a client of the user's.
        timeout: Seconds to connect.
        where: Who asks, for errors.

    Raises:
        ConfigurationError: The package ``redis`` is not installed, or the address is none.
        InvalidInputError: It is neither an address nor a client.
    """
    try:
        import redis.asyncio  # noqa: PLC0415 - imported by those who use it
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f'{where}: the package redis is not installed. Run: pip install "promptport[redis]".'
        ) from error
    if not isinstance(address, str):
        if not callable(getattr(address, "register_script", None)):
            raise InvalidInputError(
                f"{where}: the address is {type(address).__name__}. Pass a text like 'redis://localhost:6379', or a"
                " client of redis.asyncio."
            )
        return address, False
    try:
        client = redis.asyncio.Redis.from_url(
            address,
            socket_timeout=timeout + 5,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 1),  # those who ask try again themselves
        )
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{where}: the address is not one of Redis. Write it like 'redis://localhost:6379'."
        ) from error
    return client, True


def away_errors() -> tuple[type[BaseException], ...]:
    """What is raised where Redis is away, or refuses."""
    from redis.exceptions import RedisError  # noqa: PLC0415 - see `connected`

    return (RedisError, OSError, TimeoutError)


def unusable(error: BaseException, *, where: str) -> ConfigurationError:
    """Our error for one of `away_errors`.

    Args:
        error: What was raised.
        where: Who asked.
    """
    why = _WHY.get(type(error).__name__)
    if why is not None:
        return ConfigurationError(f"{where}: this Redis {why}.")
    return ConfigurationError(f"{where}: Redis cannot be reached ({type(error).__name__}). Is it running?")
