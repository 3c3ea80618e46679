"""What the commands of `spectrakit batch` print."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from spectrakit.cli.batch_progress import _duration
from spectrakit.cli.console import format_bytes, print_data, print_json, tell
from spectrakit.errors import BatchFailures
from spectrakit.plain import plain
