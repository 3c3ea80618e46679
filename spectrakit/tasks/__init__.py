"""Tasks: what a model is asked to find in a prompt, and where it stands there. No model is here."""

from __future__ import annotations

from spectrakit.tasks.base import Prompt, Task, gold_positions

__all__ = ["Prompt", "Task", "gold_positions"]
