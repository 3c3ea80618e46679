"""Prompt sets: what a model is asked to find in a prompt, and where in the prompt it stands."""

from __future__ import annotations

from spectrakit.prompt_sets.base import Prompt, PromptSet, gold_positions

__all__ = ["Prompt", "PromptSet", "gold_positions"]
