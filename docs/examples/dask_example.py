"""Tools that run on a Dask cluster, while the model's text flows here.

pip install promptport "dask[distributed]"
"""

# mypy: allow-untyped-calls

import asyncio
import os

from distributed import Client, LocalCluster

import promptport as pp
from promptport.testing import ScriptedExecutor


@pp.tool(repeatable=True)  # Dask runs a call again whose worker died
def count_primes(below: int) -> dict[str, int]:
    """Counts the primes below a number."""
    primes = sum(all(number % factor for factor in range(2, int(number**0.5) + 1)) for number in range(2, below))
    return {"below": below, "primes": primes, "process": os.getpid()}


async def count(executor: pp.PromptExecutor, model: pp.LLModel, cluster: Client) -> list[pp.ToolResult]:
    """Asks, and runs the calls on the cluster; what a tool takes and gives must be picklable."""
    results: list[pp.ToolResult] = []
    dispatcher = pp.ToolDispatcher(executor, [count_primes], workers=cluster.get_executor())
    prompt = pp.Prompt.of("How many primes are there below 5 000, 10 000 and 20 000?")
    async with dispatcher, dispatcher.stream(prompt, model) as stream:
        async for frame in stream:
            match frame:
                case pp.Append(text=text):
                    print(text, end="", flush=True)
                case pp.ToolResult():
                    print(f"\n[{frame.output}]", flush=True)
                    results.append(frame)
    return results


def main() -> list[pp.ToolResult]:
    """Asks a scripted model, with a cluster of two processes on this machine; a real one is ``Client(address)``."""
    calls = [pp.ToolCall(f"call_{n}", "count_primes", f'{{"below": {n}}}') for n in (5_000, 10_000, 20_000)]
    executor = ScriptedExecutor([*calls, "I count while I talk. "], ["669, 1229 and 2262."])
    model = pp.LLModel("scripted", "model")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as local,
        Client(local) as cluster,
    ):
        return asyncio.run(count(executor, model, cluster))


if __name__ == "__main__":
    main()
