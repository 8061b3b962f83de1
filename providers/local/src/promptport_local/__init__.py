"""promptport's provider `local`: llama.cpp in the process, with a small model that comes along."""

from promptport_local._client import LocalClient, client
from promptport_local._models import DEFAULT_MODEL
from promptport_local._server import LocalServer

__all__ = ["DEFAULT_MODEL", "LocalClient", "LocalServer", "client"]
