"""What a recipe says, each key with its default and meaning; unknown keys are refused."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Count: TypeAlias = Annotated[int, Field(ge=1, le=1 << 40)]
Size: TypeAlias = Annotated[int, Field(ge=1, le=1 << 20)]
Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Rate: TypeAlias = Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]


def _off(value: object) -> object:
    return None if value == "none" else value


#: TOML has no null: a recipe says "none" for what is not done.
RateOrNone: TypeAlias = Annotated[
    Rate | None, BeforeValidator(_off, json_schema_input_type=Rate | Literal["none"] | None)
]
CountOrNone: TypeAlias = Annotated[
    Count | None, BeforeValidator(_off, json_schema_input_type=Count | Literal["none"] | None)
]


class Part(BaseModel):
    """A table of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskRecipe(BaseModel):
    """The task and its options, which the task itself checks."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field("digits", description="The task: digits, mqar, listops, bytes, ...")

    @property
    def options(self) -> dict[str, Any]:
        """The options that are given."""
        return dict(self.model_extra or {})


class MixerRecipe(BaseModel):
    """The mixer and its options, which the mixer itself checks."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field("s4d", description="The mixer: softmax, s4d, mamba2, ...")

    @property
    def options(self) -> dict[str, Any]:
        """The options that are given."""
        return dict(self.model_extra or {})


class TransformersRecipe(BaseModel):
    """A model of transformers in the place of mixer and backbone, by the keys of its config."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    model_type: str = Field(description="Of transformers: mamba, mamba2, llama, ...")

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of the config that are given."""
        return dict(self.model_extra or {})


class ModelRecipe(Part):
    """What is around the mixer."""

    width: Size = Field(64, description="Channels of the residual stream.")
    depth: Size = Field(2, description="Blocks.")
    positions: Literal["none", "absolute", "rope", "alibi"] = Field(
        "none", description="How positions enter; rope and alibi are for softmax attention."
    )
    gate: bool = Field(False, description="Whether the mixer's output is gated by its input.")
    conv: int = Field(
        0, ge=0, le=64, description="Width of a causal convolution before the mixer; 0 for none."
    )
    output: Literal["auto", "none", "linear", "glu"] = Field(
        "auto",
        description="What follows the mixer: glu after those that do not mix channels, or none.",
    )
    mlp: Literal["none", "mlp", "glu"] = Field("glu", description="The feed-forward layer.")
    mlp_width: Size | None = Field(None, description="Its inner width; 2 x width if left out.")
    bidirectional: bool = Field(False, description="Whether a second mixer reads backwards.")
    pooling: Literal["mean", "last"] = Field("mean", description="Of a classifier.")
    dropout: Share = Field(0.0, description="Probability with which an entry is dropped.")
    norm: Literal["layer", "rms"] = Field("layer", description="The norms.")
    tied: bool = Field(False, description="Whether a language head shares the embedding.")
    initial_eigenvalues: str | None = Field(
        None, description="A set of `spectrakit memory --preset`; the mixer's own if left out."
    )
    frozen: tuple[Literal["eigenvalues"], ...] = Field((), description="What is not trained.")


class OptimiserRecipe(Part):
    """AdamW, with a rate of its own for the recurrences' parameters, which never decay."""

    rate: Rate = Field(1e-3, description="Largest learning rate.")
    recurrence_rate: Rate | None = Field(
        None, description="Of the recurrences' parameters; `rate` if left out."
    )
    weight_decay: float = Field(0.01, ge=0, le=10, description="Of matrices.")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="Of AdamW's moments.")
    epsilon: Rate = Field(1e-8, description="Of AdamW.")
    clip: RateOrNone = Field(
        1.0, description='Largest norm of the gradient; "none" where it is not clipped.'
    )
    warmup: int = Field(0, ge=0, description="Steps over which the rate rises from 0.")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="What the rate does after the warm-up."
    )


class BudgetRecipe(Part):
    """How long is trained: steps, or epochs; and on how much at once."""

    steps: Count | None = Field(None, description="Steps of the optimiser.")
    epochs: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None, description="Passes over the training examples."
    )
    batch: Size = Field(32, description="Examples of a step.")
    micro_batch: Size | None = Field(
        None, description="Examples in memory at once; all of a step if left out."
    )
    stop_at: float | None = Field(
        None, description="Training ends early where the validation metric is this good."
    )

    @model_validator(mode="after")
    def _one(self) -> BudgetRecipe:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("budget has either steps or epochs")
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise ValueError(f"a micro_batch of {self.micro_batch} does not divide the batch of "
                             f"{self.batch}")  # fmt: skip
        return self


class EvaluationRecipe(Part):
    """When the model is looked at from outside."""

    every: Count = Field(200, description="Steps between evaluations.")
    examples: Count = Field(1_000, description="Validation examples of one; all where fewer.")


class TrackingRecipe(Part):
    """When its eigenvalues are looked at."""

    every: CountOrNone = Field(50, description='Steps between snapshots; "none" for none.')
    memory_every: Count | None = Field(
        None,
        description="Steps between looks at what layers remember, which take longer; at first and "
        "at last alone if left out.",
    )
    probe: bool = Field(False, description="Whether spectra of validation examples are taken, too.")
    probe_examples: Size = Field(8, description="Examples of a probe.")


class CheckpointsRecipe(Part):
    """What is kept on the way."""

    every: Count | None = Field(
        None, description="Steps between checkpoints to resume from; a minute if left out."
    )
    keep: tuple[int, ...] = Field((), description="Steps whose checkpoints stay.")
    keep_every: Count | None = Field(None, description="Steps between checkpoints that stay.")


class Recipe(Part):
    """A training run: task, model, optimiser, budget. `extends` names a recipe to begin with."""

    description: str = Field("", description="What it is for, and what it follows.")
    seed: int = Field(0, ge=0, lt=1 << 31, description="Of everything that is drawn.")
    precision: Literal["float32", "bfloat16", "float64"] = Field(
        "float32", description="Of the computation; recurrences stay in float32 in bfloat16."
    )
    trackers: tuple[str, ...] = Field(
        (), description="tensorboard, wandb, trackio: where losses are sent as well."
    )
    task: TaskRecipe = TaskRecipe()
    mixer: MixerRecipe = MixerRecipe()
    model: ModelRecipe = ModelRecipe()
    transformers: TransformersRecipe | None = Field(
        None, description="A model of transformers instead: model_type, and keys of its config."
    )
    optimiser: OptimiserRecipe = OptimiserRecipe()
    budget: BudgetRecipe
    evaluation: EvaluationRecipe = EvaluationRecipe()
    tracking: TrackingRecipe = TrackingRecipe()
    checkpoints: CheckpointsRecipe = CheckpointsRecipe()

    @model_validator(mode="after")
    def _of_one_kind(self) -> Recipe:
        if self.transformers is not None and self.model_fields_set & {"mixer", "model"}:
            raise ValueError("a recipe has either transformers, or mixer and model")
        return self

    @property
    def kind(self) -> str:
        """What is trained: the mixer, or the model_type of transformers."""
        return self.mixer.name if self.transformers is None else self.transformers.model_type

    def record(self) -> dict[str, Any]:
        """Every key and value, as JSON and TOML have them."""
        whole = self.model_dump(mode="json")
        if self.transformers is None:
            del whole["transformers"]
        else:
            del whole["mixer"], whole["model"]
        return whole

    @property
    def digest(self) -> str:
        """Of all that decides the weights: not of what is shown, kept or sent somewhere."""
        kept = {k: v for k, v in self.record().items() if k not in _NO_NUMBERS}
        kept["budget"].pop("micro_batch")  # of rounding alone: the run's fingerprint has it
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


_NO_NUMBERS = ("description", "trackers", "tracking", "checkpoints")
