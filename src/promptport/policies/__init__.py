"""What to do about a failure, a limit or a price: each policy wraps a client or an executor, and is asked the same way.

Nothing is retried, replaced, limited or cached unless a program wraps somebody. What enters decides about requests,
and knows no provider and no wire. Imports: `promptport.executor` and what it may import.
"""

from promptport.policies.budgeted import Budget, BudgetedExecutor
from promptport.policies.cached import CachedExecutor, CacheStore, FolderCache, MemoryCache
from promptport.policies.circuit import Circuit
from promptport.policies.fallback import FallbackExecutor, OnPartial, is_anothers_chance
from promptport.policies.hedged import HedgedClient
from promptport.policies.judging import class_of, is_passing, retry_after_of
from promptport.policies.limited import LimitedClient, Limits
from promptport.policies.observed import ObservedClient
from promptport.policies.relay import Asker, Wrapper
from promptport.policies.retrying import RetryConfig, RetryingClient
from promptport.policies.routing import Resolve, RoutingExecutor, aliases, by_capability, round_robin, weighted

__all__ = [
    "Asker",
    "Budget",
    "BudgetedExecutor",
    "CacheStore",
    "CachedExecutor",
    "Circuit",
    "FallbackExecutor",
    "FolderCache",
    "HedgedClient",
    "LimitedClient",
    "Limits",
    "MemoryCache",
    "ObservedClient",
    "OnPartial",
    "Resolve",
    "RetryConfig",
    "RetryingClient",
    "RoutingExecutor",
    "Wrapper",
    "aliases",
    "by_capability",
    "class_of",
    "is_anothers_chance",
    "is_passing",
    "retry_after_of",
    "round_robin",
    "weighted",
]
