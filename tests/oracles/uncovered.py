"""The columns of docs/tables.md that no oracle recomputes, each with the reason."""

from __future__ import annotations

UNCOVERED: dict[str, str] = {}
