"""Protocols that several providers speak; pure."""
