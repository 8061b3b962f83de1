"""Two hundred prompts with limits and retries, each answered with a structure."""

import asyncio

from pydantic import BaseModel

import promptport as pp
from promptport.policies import LimitedClient, Limits, RetryConfig, RetryingClient


class Review(BaseModel):
    stars: int
    summary: str


async def batch(executor: pp.PromptExecutor, model: str, texts: list[str]) -> list[Review | None]:
    limited = RetryingClient(LimitedClient(executor, Limits(concurrency=20)), RetryConfig.PRODUCTION)
    prompts = pp.map_prompts(limited, texts, model, concurrency=20, definition=pp.JsonDefinition(Review))
    return [mapped.value for mapped in await prompts.results()]


if __name__ == "__main__":
    reviews = asyncio.run(batch(pp.connect("openai"), "openai/gpt-5-mini", [f"Review {n}: good." for n in range(200)]))
    print(sum(review is not None for review in reviews), "reviews")
