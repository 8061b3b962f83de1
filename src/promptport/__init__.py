"""promptport."""
