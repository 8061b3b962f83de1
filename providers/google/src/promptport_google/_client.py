"""`GeminiClient`: the Gemini Developer API by key. `VertexClient`: Gemini on Vertex AI, by google-auth or a key."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from promptport.provider import (
    Capability,
    ConfigurationError,
    GoogleCloud,
    HTTPClient,
    HTTPRequest,
    InvalidInputError,
    LLModel,
    ModelCapabilities,
    Prompt,
    ProtocolError,
    StreamedTools,
    ToolDescriptor,
    count_in,
    dict_in,
    text_in,
)
from promptport_google._decode import ContentDecoder, decode_complete
from promptport_google._models import Described, capabilities_of
from promptport_google._request import content_body

__all__ = ["GeminiClient", "VertexClient"]

_VERSION = re.compile(r"/v\d+(alpha|beta)?\d*$")


class GeminiClient(Described, HTTPClient):
    """The Gemini Developer API; ``pp.client("google", …)`` makes one. It belongs to one event loop."""

    provider = "google"
    answer_dialect = "gemini"
    base_url = "https://generativelanguage.googleapis.com"
    url_variable = "GOOGLE_GEMINI_BASE_URL"
    key_header = "x-goog-api-key"
    decoder = ContentDecoder
    complete = decode_complete
    streamed_tools = StreamedTools.WHOLE
    key_variables: Sequence[str] = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
    model_lists = ("models", "publisherModels")
    _listed = "models?pageSize=1000"

    def __init__(self, *, api_version: str = "v1beta", **options: Any) -> None:
        """Create a client.

        Args:
            api_version: ``v1beta`` or ``v1``, part of the URL. A ``base_url`` that ends in a version keeps its own.
            options: See `promptport.provider.HTTPClient`. ``api_key``: Default: ``GOOGLE_API_KEY``, then
                ``GEMINI_API_KEY``. ``base_url``: Default: ``GOOGLE_GEMINI_BASE_URL``, then Google's.

        Raises:
            ConfigurationError: No key, or a key, URL or option that cannot be used.
        """
        super().__init__(**options)
        self._prefix = "" if _VERSION.search(self.base_url) else f"/{api_version}"
        self.models_path = f"{self._prefix}/{self._listed}"

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What you declared, what `discover` found, or what the table of models says; without network."""
        found = model.capabilities or self._discovered.get(model.id)
        return found or capabilities_of(model.id, streamed_tools=self.streamed_tools)

    async def _describe(self, model: LLModel) -> ModelCapabilities | None:
        """The table's capabilities, with the server's limits, and whether the model thinks."""
        told = dict_in(await self._get(f"{self._prefix}/{self._resource(model)}", model.id))
        length, output = count_in(told.get("inputTokenLimit")), count_in(told.get("outputTokenLimit"))
        if length is None:
            raise ProtocolError(f"{self.provider}: the server does not describe a model. Check the base_url.")
        found = capabilities_of(model.id, streamed_tools=self.streamed_tools)
        if told.get("thinking") is False:
            found = found.without(Capability.REASONING, Capability.REASONING_EFFORT, Capability.REASONING_BUDGET)
        output = found.max_output_tokens if output is None else output
        return msgspec.structs.replace(found, context_length=length, max_output_tokens=output, known=True)

    def _model_id(self, entry: Any) -> Any:
        name = text_in(dict_in(entry).get("name")) or ""
        return name.removeprefix("models/").removeprefix("publishers/google/models/")

    def _more(self, listed: dict[str, Any]) -> str:
        token = listed.get("nextPageToken")
        return f"&pageToken={quote(str(token), safe='')}" if token else ""

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        return content_body(prompt, model, tools, origin=self.origin)

    def _path(self, model: LLModel, *, stream: bool) -> str:
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"{self._prefix}/{self._resource(model)}:{verb}"

    def _resource(self, model: LLModel) -> str:
        return _resource(model.id, "models")


class VertexClient(GeminiClient):
    """Gemini on Vertex AI; ``pp.client("google-vertex", …)`` makes one. It belongs to one event loop."""

    provider = "google-vertex"
    url_variable = "GOOGLE_VERTEX_BASE_URL"
    key_variables = ()
    needs_key = False
    _listed = "publishers/google/models?pageSize=100"

    def __init__(
        self,
        *,
        project: str | None = None,
        location: str | None = None,
        credentials: Any = None,
        api_key: Any = None,
        base_url: str | None = None,
        api_version: str = "v1beta1",
        stream_function_call_arguments: bool = False,
        **options: Any,
    ) -> None:
        """Create a client.

        Args:
            project: The Google Cloud project. Default: ``GOOGLE_CLOUD_PROJECT``, then the credentials' own.
            location: The region, ``us``, ``eu`` or ``global``. Default: ``GOOGLE_CLOUD_LOCATION``, then ``global``.
            credentials: ``google.auth.credentials.Credentials``. Default: the application default credentials, for
                Google's own address only.
            api_key: A key of express mode, in which there is no project. Default: ``GOOGLE_API_KEY``, if neither
                options nor environment name a project.
            base_url: The server. Default: ``GOOGLE_VERTEX_BASE_URL``, then Google's for the location.
            api_version: Part of the URL.
            stream_function_call_arguments: Ask for the arguments of tool calls as the model writes them. Gemini 3 and
                later have it.
            options: See `promptport.provider.HTTPClient`.

        Raises:
            ConfigurationError: Options that exclude each other, or a key or URL that cannot be used.
        """
        if api_key is not None and (credentials is not None or project is not None):
            other = "credentials" if credentials is not None else "project"
            raise ConfigurationError(f"google-vertex: api_key and {other} exclude each other. Pass one of them.")
        self._express = api_key is not None
        if not self._express and project is None and credentials is None:
            self._express = bool(os.environ.get("GOOGLE_API_KEY")) and not os.environ.get("GOOGLE_CLOUD_PROJECT")
        self._cloud = GoogleCloud(
            provider=self.provider,
            project=project,
            location=location,
            credentials=credentials,
            keyed=self._express,
            base_url=base_url,
            url_variable=self.url_variable,
            project_variables=() if self._express else ("GOOGLE_CLOUD_PROJECT",),
            location_variables=() if api_key is not None else ("GOOGLE_CLOUD_LOCATION",),
        )
        self.base_url = self._cloud.home
        self.key_variable = "GOOGLE_API_KEY" if self._express else ""  # beside a project, that key is another API's
        if stream_function_call_arguments:
            self.streamed_tools = StreamedTools.DELTAS
        super().__init__(api_key=api_key, base_url=base_url, api_version=api_version, **options)

    async def _describe(self, model: LLModel) -> ModelCapabilities | None:
        return None  # Vertex AI does not describe its models' limits

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        deltas = stream and self.streamed_tools is StreamedTools.DELTAS
        return content_body(prompt, model, tools, origin=self.origin, vertex=True, stream_arguments=deltas)

    def _resource(self, model: LLModel) -> str:
        resource = _resource(model.id, "publishers/google/models")
        return resource if resource.startswith("projects/") else self._cloud.within_project(resource)

    async def _prepare(self, request: HTTPRequest) -> None:
        await self._cloud.prepare(request)


def _resource(model: str, collection: str) -> str:
    """The path of a model, which its id may name in whole or in part: ``models/…``, ``publisher/…``, ``projects/…``."""
    if ".." in model:
        raise InvalidInputError(f"model {model!r}: an id holds no '..'")
    known = ("models/", "tunedModels/") if collection == "models" else ("models/", "publishers/", "projects/")
    if not model.startswith(known):
        publisher, slash, name = model.partition("/")
        vertex = slash and collection != "models"
        model = f"publishers/{publisher}/models/{name}" if vertex else f"{collection}/{model}"
    return quote(model, safe="/@")
