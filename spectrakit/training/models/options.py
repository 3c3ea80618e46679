"""What a mixer may be told in a recipe, checked by pydantic."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class MixerOptions(BaseModel):
    """Options of one mixer, each with a default and a description; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
