"""The commands ``promptport local …``: plain functions, which the command line makes commands of."""

from __future__ import annotations

import sys

from promptport_local._fetching import fetch as fetch_weights

__all__ = ["commands", "fetch"]


def fetch() -> None:
    """Fetch the weights of the default model (98 MB), so that its first use needs no network.

    Example: promptport local fetch
    """
    place = fetch_weights(tell=lambda text: print(text, file=sys.stderr))  # noqa: T201 - a command
    print(place)  # noqa: T201


commands = {"fetch": fetch}
"""What the entry point ``local`` of ``promptport.commands`` names."""
