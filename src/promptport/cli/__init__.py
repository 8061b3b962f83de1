"""The command line. The extra ``cli`` installs what it needs.

What enters knows a terminal. Imports: everything else.
"""

import sys

try:
    from promptport.cli.application import main
    from promptport.cli.chat_command import chat
    from promptport.cli.conformance_command import conformance
    from promptport.cli.provider_commands import capabilities, providers
    from promptport.cli.record_command import record
    from promptport.cli.run_command import run
    from promptport.cli.runs_command import list_runs, resume_run, show_run
    from promptport.cli.serve_command import serve
except ModuleNotFoundError as missing:  # pragma: no cover - only where the extra is not installed
    if missing.name not in ("rich", "typer"):
        raise
    sys.exit(f'promptport: the command line needs {missing.name}: pip install "promptport[cli]"')

__all__ = [
    "capabilities",
    "chat",
    "conformance",
    "list_runs",
    "main",
    "providers",
    "record",
    "resume_run",
    "run",
    "serve",
    "show_run",
]
