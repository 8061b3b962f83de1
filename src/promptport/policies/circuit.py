"""`Circuit`: which models fail just now, so that nobody waits for them. Pure but for its clock.

A model that failed several times in a row rests; when its rest is over, one request may try it, and the others wait
for what becomes of that.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import msgspec

from promptport.arguments import check_number

__all__ = ["Circuit"]


class _Health(msgspec.Struct):
    failures: int = 0
    rests_until: float = 0.0
    probing: bool = False


class Circuit:
    """A circuit breaker for each key.

    Examples:
        ```python
        from promptport.policies import Circuit

        circuit = Circuit(max_failures=1, cooldown=10.0)
        circuit.failed("openai/gpt-5")
        print(circuit.allows("openai/gpt-5"))
        ```
    """

    def __init__(
        self, *, max_failures: int = 3, cooldown: float = 30.0, clock: Callable[[], float] = monotonic
    ) -> None:
        """Make a breaker with all keys healthy.

        Args:
            max_failures: How many failures in a row open the circuit of a key. Default: 3.
            cooldown: Seconds that a key rests before one request may probe it. Default: 30.0.
            clock: Seconds; for tests.

        Raises:
            InvalidInputError: A number is out of its range.
        """
        check_number("Circuit: max_failures", max_failures, least=1, whole=True)
        check_number("Circuit: cooldown", cooldown, over=0, finite=False)
        self._max_failures = max_failures
        self._cooldown = cooldown
        self._clock = clock
        self._keys: dict[str, _Health] = {}

    @property
    def calm(self) -> bool:
        """Whether no key failed since it last answered."""
        return not self._keys

    def allows(self, key: str) -> bool:
        """Whether this key may be asked now: it is healthy, or its rest is over and nobody probes it."""
        health = self._keys.get(key)
        if health is None or health.failures < self._max_failures:
            return True
        return not health.probing and self._clock() >= health.rests_until

    def asked(self, key: str) -> bool:
        """This key is asked now. If its rest is over, that is the probe, and others wait for what becomes of it.

        Returns:
            Whether it is the probe; say so to `failed` and `left`.
        """
        health = self._keys.get(key)
        if health is None or health.failures < self._max_failures or health.probing:
            return False
        health.probing = True
        return True

    def rests_until(self, key: str) -> float:
        """When the rest of this key ends, on the breaker's clock; 0 for one that does not rest."""
        health = self._keys.get(key)
        return health.rests_until if health is not None and health.failures >= self._max_failures else 0.0

    def succeeded(self, key: str) -> None:
        """The key answered: it is healthy."""
        self._keys.pop(key, None)

    def failed(self, key: str, *, probe: bool = True) -> None:
        """The key failed once more; a probe that fails begins another rest.

        Args:
            key: Who failed.
            probe: Whether the request could be the probe. One that began before the rest, and fails during it, is not.
        """
        health = self._keys.setdefault(key, _Health())
        health.failures += 1
        if probe or health.failures <= self._max_failures:
            health.probing = False
            health.rests_until = self._clock() + self._cooldown

    def left(self, key: str, *, probe: bool = True) -> None:
        """A request to this key ended without telling anything, such as by cancellation: another may probe it.

        Args:
            key: Who was asked.
            probe: As in `failed`.
        """
        health = self._keys.get(key)
        if health is not None and probe:
            health.probing = False
