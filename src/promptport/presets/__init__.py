"""Servers that speak a known API, as rows of data: `presets.toml`, a user's ``providers.toml``, and `register`.

What enters is data of one server, and what turns a row into a client. A row has no code; what it cannot say is a
provider. Imports: `promptport.http`, `promptport.protocols`, models. Nothing of it is read before a name is asked for.
"""

from promptport.presets.table import Preset, names, preset, preset_client, register, user_names

__all__ = ["Preset", "names", "preset", "preset_client", "register", "user_names"]
