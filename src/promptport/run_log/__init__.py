"""The frames of a run for its viewers: resumed from any position, stopped from anywhere, on one machine or several.

A log may be lost, and decides nothing. What enters keeps frames, and knows no browser. Imports: `promptport.dispatch`,
`promptport.front_ends`. `promptport.run_log.redis` is a door of its own, since it needs the extra ``redis``.
"""

from promptport.run_log.log import Ending, LoggedFrame, RunLog, RunReader, RunWriter
from promptport.run_log.memory import MemoryRunLog

__all__ = ["Ending", "LoggedFrame", "MemoryRunLog", "RunLog", "RunReader", "RunWriter"]
