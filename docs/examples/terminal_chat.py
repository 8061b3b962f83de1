"""A chat in the terminal, with a tool. Ctrl-C cuts a response, and the conversation goes on; an empty line ends it."""

import asyncio

import promptport as pp


@pp.tool
def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


def main(executor: pp.PromptExecutor, model: str) -> None:
    session = pp.LLMSession(executor, model, tools=[word_count])
    with asyncio.Runner() as runner:
        while line := input("> ").strip():
            try:
                runner.run(pp.show(session.run(line)))
            except (KeyboardInterrupt, pp.PromptportError) as error:
                print(f"[cut: {type(error).__name__}]")


if __name__ == "__main__":
    main(pp.connect("ollama"), "ollama/llama3.2")
