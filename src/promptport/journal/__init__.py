"""What a run has finished, so that it survives its process: `SqliteJournal`, and adapters to engines.

A journal is for the run, and must be safe; the run log is for its viewers, and may be lost. What enters keeps records,
and knows neither models nor tools. Imports: `promptport.dispatch`, the standard library; an engine's adapter is a door
of its own (`promptport.journal.dbos`), since it needs the engine's extra.
"""

from promptport.dispatch import CallContext, Journal, current_call
from promptport.journal.sqlite import JournaledRun, SqliteJournal

__all__ = ["CallContext", "Journal", "JournaledRun", "SqliteJournal", "current_call"]
