"""The command line. The extra ``cli`` installs what it needs.

What enters knows a terminal. Imports: everything else.
"""

from promptport.cli.commands import main

__all__ = [
    "main",
]
