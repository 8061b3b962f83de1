"""The Ollama provider of promptport."""
