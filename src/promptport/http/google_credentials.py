"""Google's credentials, by google-auth: what a machine, a file or a program brings, as the headers of a request.

Rules: google-auth blocks, so it runs in a thread, one at a time; it is imported when it is first used. What it raises
becomes ours. The token's request goes over ``urllib``: google-auth's own way needs ``requests``, and most of a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from promptport.errors import AuthenticationError, ConfigurationError, PromptportError, TransportError

__all__ = ["GoogleCredentials"]

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_SECONDS = 60.0


class GoogleCredentials:
    """Google Cloud credentials that are found, or refreshed, when they are needed. They belong to one event loop.

    Attributes:
        project: The project that they name, or ``None``; known after the first `headers`.

    Examples:
        ```python
        from promptport.provider import GoogleCredentials

        credentials = GoogleCredentials(None, provider="google-vertex")
        # in a coroutine: request.headers.update(await credentials.headers())
        ```
    """

    def __init__(self, given: Any, *, provider: str) -> None:
        """Args:
        given: ``google.auth.credentials.Credentials``, or ``None`` for the application's default ones.
        provider: For the errors.
        """
        self._credentials = given
        self._given = given is not None
        self._provider = provider
        self._ready = False
        self._lock = asyncio.Lock()
        self.project: str | None = None

    async def headers(self) -> Mapping[str, str]:
        """The headers of a request now.

        Raises:
            ConfigurationError: google-auth is not installed, or there are no credentials.
            AuthenticationError: They were refused.
            TransportError: The server that gives tokens was not reached.
        """
        if not self._ready or not self._credentials.valid:
            async with self._lock:
                if not self._ready or not self._credentials.valid:
                    await asyncio.to_thread(self._refresh)
        found = {"authorization": f"Bearer {self._credentials.token}"}
        quota = getattr(self._credentials, "quota_project_id", None)
        return {**found, "x-goog-user-project": quota} if quota else found

    def _refresh(self) -> None:
        try:
            import google.auth  # noqa: PLC0415 - few programs use it
            from google.auth import exceptions  # noqa: PLC0415
        except ImportError as error:
            text = "needs google-auth. Install it with: pip install 'promptport[vertex]', or pass a key as api_key=…"
            raise ConfigurationError(f"{self._provider}: {text}") from error
        try:
            if not self._ready and self._given:
                if getattr(self._credentials, "requires_scopes", False):
                    self._credentials = self._credentials.with_scopes(_SCOPES)
                self.project = getattr(self._credentials, "project_id", None)
            elif not self._ready:
                self._credentials, self.project = google.auth.default(scopes=_SCOPES)
            self._ready = True
            if not self._credentials.valid:
                self._credentials.refresh(_over_urllib)
        except exceptions.GoogleAuthError as error:
            raise self._translated(error, exceptions) from error

    def _translated(self, error: Exception, exceptions: Any) -> PromptportError:
        if isinstance(error, exceptions.TransportError):
            text = f"{self._provider}: the server that gives access tokens was not reached. Check the network."
            return TransportError(text, provider=self._provider)
        if isinstance(error, exceptions.DefaultCredentialsError):
            ways = "run 'gcloud auth application-default login', set GOOGLE_APPLICATION_CREDENTIALS, pass credentials=…"
            return ConfigurationError(f"{self._provider}: found no usable credentials; {ways}, or a key as api_key=…")
        text = f"{self._provider}: Google refused to give an access token. Renew the credentials."
        return AuthenticationError(text, provider=self._provider)


class _Response:
    """What google-auth reads of an HTTP response."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.status = status
        self.headers = headers
        self.data = data


def _over_urllib(
    url: str,
    method: str = "GET",
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **_: Any,
) -> _Response:
    """A ``google.auth.transport.Request``."""
    from http.client import HTTPException  # noqa: PLC0415
    from urllib.error import HTTPError  # noqa: PLC0415
    from urllib.request import Request, urlopen  # noqa: PLC0415

    from google.auth import exceptions  # noqa: PLC0415

    data = body.encode() if isinstance(body, str) else body
    request = Request(url, data=data, headers=dict(headers or {}), method=method)  # noqa: S310 - google-auth's address
    try:
        with urlopen(request, timeout=timeout or _SECONDS) as response:  # noqa: S310
            return _Response(response.status, dict(response.headers), response.read())
    except HTTPError as error:
        with error:
            return _Response(error.code, dict(error.headers), error.read())
    except (OSError, HTTPException) as error:
        kind: Any = exceptions.TransportError  # untyped
        raise kind(str(error)) from error
