"""The Anthropic provider of promptport."""
