"""The command line: one module per command, which parses, calls and prints.

Nothing heavy is imported before a command runs: `--help` is instant.
"""

from __future__ import annotations

from spectrakit.cli.app import main

__all__ = ["main"]
