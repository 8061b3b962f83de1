"""`GoogleCloud`: which address of Vertex AI is asked, for which project, and with whose token.

Rule: an option goes before a variable. The application's default credentials go to Google's own addresses only; another
server is sent the credentials that the program itself passed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from promptport.errors import ConfigurationError
from promptport.http.addresses import check_base_url
from promptport.http.google_credentials import GoogleCredentials
from promptport.http.request import HTTPRequest

__all__ = ["GoogleCloud"]

_PROJECT = "PROJECT-OF-THE-CREDENTIALS"
_MULTI_REGIONS = ("us", "eu")


class GoogleCloud:
    """Vertex AI in one location, for one project.

    Attributes:
        url: The address that is asked.
        home: Google's own address of the location.
        location: The location.
        project: The project; with a name that `prepare` exchanges, where only the credentials know it.

    Examples:
        ```python
        from promptport.provider import GoogleCloud

        cloud = GoogleCloud(provider="my-vertex", project="my-project", location="europe-west4")
        cloud.within_project("publishers/google/models/gemini-3-flash")
        # 'projects/my-project/locations/europe-west4/publishers/google/models/gemini-3-flash'
        # in a client's _prepare(request): await cloud.prepare(request)
        ```
    """

    def __init__(
        self,
        *,
        provider: str,
        project: str | None = None,
        location: str | None = None,
        credentials: Any = None,
        keyed: bool = False,
        base_url: str | None = None,
        url_variable: str = "",
        project_variables: Sequence[str] = ("GOOGLE_CLOUD_PROJECT",),
        location_variables: Sequence[str] = ("GOOGLE_CLOUD_LOCATION",),
    ) -> None:
        """Args:
        provider: For the errors.
        project: Default: the first of ``project_variables`` that is set, then the credentials' own.
        location: The region, ``us``, ``eu`` or ``global``. Default: ``location_variables``, then ``global``.
        credentials: ``google.auth.credentials.Credentials``. Default: the application's default credentials.
        keyed: The client sends a key or a token itself.
        base_url: Default: ``url_variable``, or the location's own address.
        url_variable: The environment variable of the address.
        project_variables: Environment variables of the project.
        location_variables: Environment variables of the location.

        Raises:
            ConfigurationError: The location or the address cannot be used.
        """
        self._provider = provider
        self.location = location or _first(location_variables) or "global"
        if not re.fullmatch(r"[a-z0-9-]+", self.location):
            text = f"location: {self.location!r} is not a region. Pass one such as 'europe-west4', or 'global'."
            raise ConfigurationError(f"{provider}: {text}")
        self.home = _address(self.location)
        given = base_url or (os.environ.get(url_variable) if url_variable else None)
        self.url = check_base_url(given or self.home, provider=provider)
        self.project = project or _first(project_variables)
        self._credentials: GoogleCredentials | None = None
        google = (urlsplit(self.url).hostname or "").endswith(".googleapis.com")
        if not keyed and (google or credentials is not None):
            self._credentials = GoogleCredentials(credentials, provider=provider)
            self.project = self.project or _PROJECT

    def within_project(self, resource: str) -> str:
        """The path of a resource of the project in this location; as it is, where there is no project."""
        if not self.project:
            return resource
        return f"projects/{quote(self.project, safe=':')}/locations/{self.location}/{resource}"

    async def prepare(self, request: HTTPRequest) -> None:
        """Puts in the token, and the project where only the credentials know it.

        Raises:
            ConfigurationError: There are no credentials, or nobody knows the project.
            AuthenticationError: The credentials were refused.
            TransportError: The server that gives tokens was not reached.
        """
        if self._credentials is None:
            return
        request.headers.update(await self._credentials.headers())
        if _PROJECT in request.url:
            if self._credentials.project is None:
                text = "the credentials name no project. Pass project=…, or set GOOGLE_CLOUD_PROJECT"
                raise ConfigurationError(f"{self._provider}: {text}")
            request.url = request.url.replace(_PROJECT, quote(self._credentials.project, safe=":"))


def _first(variables: Sequence[str]) -> str | None:
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)


def _address(location: str) -> str:
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in _MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"
