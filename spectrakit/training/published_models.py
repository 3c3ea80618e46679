"""Models of transformers in training, made of their config: what a recipe's `[transformers]` names.

Their recurrences' parameters are those that their architecture here reads a spectrum from, marked
like those of our own modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.models_in_memory import from_model
from spectrakit.training.models.mixer_module import mark_recurrence
from spectrakit.wording import did_you_mean

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from spectrakit.training.data.base import TaskShape
    from spectrakit.training.recipes.schema import TransformersRecipe


def published_model(recipe: TransformersRecipe, shape: TaskShape) -> PreTrainedModel:
    """The causal language model, its weights drawn by torch's own generator.

    Raises UsageError for a model or key that transformers does not have, for a task that is not of
    tokens, and where the config makes no model.
    """
    from transformers import AutoModelForCausalLM

    if shape.kind == "classification" or shape.inputs != "tokens":
        message = "models of transformers learn to predict tokens, and this task has classes"
        raise UsageError(message, hint='task.name = "bytes", "wikitext" or "mqar"')
    config = _config(recipe, shape)
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    except (ValueError, TypeError, KeyError, RuntimeError, ZeroDivisionError) as error:
        message = f"transformers makes no {recipe.model_type} of these keys: {error}"
        raise UsageError(message) from error
    _mark(model)
    return model


def _config(recipe: TransformersRecipe, shape: TaskShape) -> PretrainedConfig:
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if recipe.model_type not in CONFIG_MAPPING:
        message = f"transformers has no model_type {recipe.model_type!r}"
        raise UsageError(message, hint=did_you_mean(recipe.model_type, list(CONFIG_MAPPING)))
    known = AutoConfig.for_model(recipe.model_type).to_dict()
    for key in recipe.keys:
        if key not in known:
            message = f"the config of {recipe.model_type} has no key {key!r}"
            raise UsageError(message, hint=did_you_mean(key, list(known)))
    given: dict[str, Any] = {
        "vocab_size": shape.vocabulary, "use_cache": False,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None, **recipe.keys,
    }  # fmt: skip
    if given["vocab_size"] < shape.vocabulary:
        message = f"the task has {shape.vocabulary} tokens, and vocab_size is {given['vocab_size']}"
        raise UsageError(message, hint="leave transformers.vocab_size out")
    try:
        return AutoConfig.for_model(recipe.model_type, **given)
    # Each config has its own checks: pydantic-like errors, ValueError, TypeError.
    except Exception as error:
        message = f"transformers makes no config of {recipe.model_type}: {error}"
        raise UsageError(message) from error


def _mark(model: PreTrainedModel) -> None:
    """Mark the parameters that spectra come from; none where no architecture here reads it."""
    try:
        layers = from_model(model).layers
    except UnsupportedError:
        return
    modules = dict(model.named_modules())
    for layer in layers:
        for name in layer.weights_tensors if layer.in_weights else ():
            path, _, last = name.rpartition(".")
            if path in modules:
                mark_recurrence(modules[path], frozenset({last}))
