"""What a mixer may be told in a recipe, checked by pydantic."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: A size.
Size = Annotated[int, Field(ge=1, le=1 << 20)]
#: A step of discretisation.
Step = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class MixerOptions(BaseModel):
    """Options of one mixer, each with a default and a description; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SteppedOptions(MixerOptions):
    """Options of a mixer that is discretised with a learned step, log-uniform at first."""

    dt_min: Step = Field(1e-3, description="Smallest initial step.")
    dt_max: Step = Field(1e-1, description="Largest initial step.")
