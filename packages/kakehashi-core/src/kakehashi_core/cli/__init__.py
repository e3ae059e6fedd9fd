"""The ``kakehashi`` command line. Results go to stdout, progress and remarks to stderr.

Exit codes: 0 success, 1 something is broken or failed, 2 wrong usage (unknown name, bad option).
"""

from kakehashi_core.cli.entry import main

__all__ = ["main"]
