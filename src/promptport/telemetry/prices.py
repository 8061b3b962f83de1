"""`price`: what a response cost, by the package ``genai-prices`` (extra ``prices``), whose data is offline.

Rule: an unknown model, and a usage that nobody told, have no price: ``None``, never 0.
"""

from __future__ import annotations

from promptport.errors import ConfigurationError
from promptport.frames import Usage
from promptport.models import LLModel

__all__ = ["price"]

_PROVIDERS = {
    "bedrock": "aws",
    "google-vertex": "google",
    "moonshot": "moonshotai",
    "openai-chat": "openai",
    "xai": "x-ai",
}
"""Names of ours that the package spells otherwise."""


def price(model: LLModel, usage: Usage) -> float | None:
    """What these tokens cost, in US dollars.

    Args:
        model: The model that was asked.
        usage: The tokens that the provider counted.

    Returns:
        The price; `None` if the model or the usage is not known. A model in this process costs 0.

    Raises:
        ConfigurationError: The package `genai-prices` is not installed.

    Examples:
        ```python
        import promptport as pp
        from promptport import telemetry

        print(telemetry.price(pp.LLModel("openai", "gpt-4o"), pp.Usage(1_000_000, 0)))
        ```
    """
    if model.provider in ("local", "ollama"):
        return 0.0
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    try:
        import genai_prices  # noqa: PLC0415 - imported when it is first used
    except ImportError as error:
        raise ConfigurationError(
            'price(): the package genai-prices is not installed. Run: pip install "promptport[prices]".'
        ) from error
    counted = genai_prices.Usage(
        input_tokens=usage.input_tokens or 0,
        output_tokens=usage.output_tokens or 0,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    provider = _PROVIDERS.get(model.provider, model.provider)
    try:
        found = genai_prices.calc_price(counted, model.id, provider_id=provider)
    except (LookupError, ValueError):
        return None
    return float(found.total_price)
