"""From a recipe to a task with its data, and to the config of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from spectrakit.errors import UsageError
from spectrakit.plugins import plugins
from spectrakit.training.data.tasks import names as task_names
from spectrakit.training.data.tasks import task
from spectrakit.training.models.builders import builder
from spectrakit.wording import did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from spectrakit.training.data.base import TaskData, TaskShape
    from spectrakit.training.models.config import SpectrakitConfig
    from spectrakit.training.recipes.schema import Recipe

#: Mixers that leave channels to themselves, or have no output projection of their own.
_UNMIXED = frozenset({"s4", "s4d", "dss", "lru", "s5", "dense"})


def open_task(recipe: Recipe) -> TaskData:
    """The recipe's task. Raises UsageError for options that are none, and what its `open` does."""
    found = task(recipe.task.name)
    options = checked(found.options, recipe.task.options, f"task {recipe.task.name}", "task")
    return found.open(options, recipe.seed)


def mixer_options(recipe: Recipe) -> dict[str, Any]:
    """The options of the mixer that are given, checked. Raises UsageError."""
    plugins().register()  # whose mixers may be named too
    found = builder(recipe.mixer.name)
    given = recipe.mixer.options
    kind = found.options_class()
    if kind is not None:
        checked(kind, given, f"mixer {recipe.mixer.name}", "mixer")
    return given


def checked(kind: Any, given: dict[str, Any], of: str, table: str) -> Any:  # noqa: ANN401
    """`kind`, a class of options, of what is given. Raises UsageError for the first mistake."""
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = tuple(kind.model_fields)
            hint = did_you_mean(key, known) or f"one of: {', '.join(known) or 'none'}"
            raise UsageError(f"{of} has no option {key!r}", hint=hint) from None
        said = str(first["msg"]).removeprefix("Value error, ")
        value = f" is {first['input']!r}" if key else ""
        named = f"{table}.{key}{value}: " if key else f"{of}: "
        raise UsageError(f"{named}{said[:1].lower()}{said[1:]}") from None


def model_for(recipe: Recipe, shape: TaskShape) -> PreTrainedModel:
    """The recipe's model, its weights drawn by torch's generator. Raises UsageError for none."""
    if recipe.transformers is not None:
        from spectrakit.training.published_models import published_model

        return published_model(recipe.transformers, shape)
    from spectrakit.training.models.backbone import model_of

    return model_of(model_config(recipe, shape))


def sketch_of(recipe: Recipe, shape: TaskShape) -> PreTrainedModel:
    """The recipe's model without numbers: its sizes cost no memory.

    Raises what `model_for` raises.
    """
    import torch
    from transformers.initialization import no_init_weights

    with torch.device("meta"), no_init_weights():
        return model_for(recipe, shape)


def model_config(recipe: Recipe, shape: TaskShape) -> SpectrakitConfig:
    """The config of the recipe's model for a task. Raises UsageError where it makes no model."""
    from spectrakit.training.models.checked import check_config
    from spectrakit.training.models.config import SpectrakitConfig

    model = recipe.model
    output = model.output
    if output == "auto":
        output = "glu" if recipe.mixer.name in _UNMIXED else "none"
    classifier = shape.kind == "classification"
    config = SpectrakitConfig(
        inputs=shape.inputs,
        vocab_size=shape.vocabulary,
        channels=shape.channels,
        hidden_size=model.width,
        num_hidden_layers=model.depth,
        mixer=recipe.mixer.name,
        mixer_options=mixer_options(recipe) or None,
        initial_eigenvalues=model.initial_eigenvalues,
        frozen=list(model.frozen) or None,
        positions=model.positions,
        max_position_embeddings=shape.length,
        gate=model.gate,
        conv=model.conv,
        output=output,
        mlp=model.mlp,
        mlp_width=model.mlp_width or 2 * model.width,
        bidirectional=model.bidirectional,
        head="classifier" if classifier else "language",
        pooling=model.pooling,
        dropout=model.dropout,
        norm=model.norm,
        tie_word_embeddings=model.tied,
    )
    if classifier:
        config.num_labels = shape.classes or 1
    check_config(config)
    return config


def schema_of(name: str | None) -> dict[str, Any]:
    """The JSON Schema of recipes, or of the options of the mixer or task of that name.

    Raises UsageError where there is none of that name.
    """
    from spectrakit.training.recipes.schema import Recipe as Described

    if name is None:
        return Described.model_json_schema()
    plugins().register()
    if name in task_names():
        return task(name).options.model_json_schema()
    kind = builder(name).options_class()
    if kind is None:
        raise UsageError(f"the mixer {name} says nothing of its options")
    return kind.model_json_schema()


def total_steps(recipe: Recipe, data: TaskData) -> int:
    """Steps of the whole training."""
    budget = recipe.budget
    if budget.steps is not None:
        return budget.steps
    assert budget.epochs is not None  # noqa: S101  (the schema has one of the two)
    return max(1, round(budget.epochs * data.size("train") / budget.batch))
