"""Checkpoints of a run: weights for everybody, and what training needs to go on exactly.

There is no state of a random generator and no sampler among it: what is drawn is a function of the
step (`spectrakit.training.keyed`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from spectrakit.errors import MalformedError
from spectrakit.tables.folders import plain_errors, sync

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

    from spectrakit.training.folder import TrainingFolder

STATE, MOMENTS = "state.json", "optimiser.safetensors"
_ONE = ("exp_avg", "exp_avg_sq")


def save_checkpoint(
    folder: TrainingFolder,
    step: int,
    model: PreTrainedModel,
    optimiser: torch.optim.Optimizer | None,
    state: Mapping[str, Any],
) -> None:
    """Write the checkpoint after `step` updates; it is there as a whole, or not at all.

    optimiser: None leaves out what resuming needs. Raises OutputError, and nothing older is lost.
    """
    place = folder.checkpoint(step)
    partial = place.with_name(f".new-{place.name}")
    with plain_errors(folder.path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _write(partial, model, optimiser, state)
            for path in partial.iterdir():
                sync(path)
            sync(partial)
            if place.exists():
                folder.remove_checkpoint(step)
            partial.rename(place)
            sync(place.parent)
        except SafetensorError as error:  # its own way to say that the disk is full
            shutil.rmtree(partial, ignore_errors=True)
            raise OSError(_errno_in(str(error)), str(error)) from error
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _write(
    partial: Any,  # noqa: ANN401  (a path)
    model: PreTrainedModel,
    optimiser: torch.optim.Optimizer | None,
    state: Mapping[str, Any],
) -> None:
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(partial)
    finally:
        if bars:
            logging.enable_progress_bar()
    if optimiser is not None:
        save_file(_moments(model, optimiser), partial / MOMENTS)
    (partial / STATE).write_text(json.dumps(dict(state), indent=1) + "\n", encoding="utf-8")


def _errno_in(text: str) -> int:
    import errno

    return errno.ENOSPC if "space" in text.lower() else errno.EIO


def _moments(model: PreTrainedModel, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and counts of updates, by the names of their parameters."""
    found = {}
    for name, parameter in model.named_parameters():
        own = optimiser.state.get(parameter, {})
        for key in (*_ONE, "step"):
            if key in own:
                found[f"{key}.{name}"] = own[key].detach().cpu().contiguous()
    return found


def load_weights(folder: TrainingFolder, step: int, model: PreTrainedModel) -> None:
    """Put the weights of a checkpoint into `model`. Raises MalformedError where they do not fit."""
    path = folder.checkpoint(step) / "model.safetensors"
    try:
        weights = load_file(path)
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _damaged(path, error) from error
    tied = set(model.all_tied_weights_keys) if hasattr(model, "all_tied_weights_keys") else set()
    if unexpected or set(missing) - tied:
        raise _damaged(path, f"its tensors are not the model's ({[*missing, *unexpected][:2]})")


def load_optimiser(
    folder: TrainingFolder, step: int, model: PreTrainedModel, optimiser: torch.optim.Optimizer
) -> None:
    """Put the moments of a checkpoint into `optimiser`. Raises MalformedError where none fit."""
    path = folder.checkpoint(step) / MOMENTS
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or (step and f"step.{name}" not in stored):
            if parameter.requires_grad:
                raise _damaged(path, f"nothing in it is of {name}")
            continue
        if f"step.{name}" in stored:
            own: dict[str, Tensor] = {"step": stored[f"step.{name}"].clone()}
            for key in _ONE:
                moment = stored[f"{key}.{name}"]
                if moment.shape != parameter.shape:
                    raise _damaged(path, f"{key} of {name} has shape {list(moment.shape)}")
                own[key] = moment.to(parameter.device, parameter.dtype)
            optimiser.state[parameter] = own


def load_state(folder: TrainingFolder, step: int) -> dict[str, Any]:
    """What else a checkpoint says. Raises MalformedError where it cannot be read."""
    path = folder.checkpoint(step) / STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(state, dict):
        raise _damaged(path, "it holds no keys and values")
    return state


def _damaged(path: object, why: object) -> MalformedError:
    message = f"{path} is damaged: {why}".splitlines()[0]
    return MalformedError(message, hint="remove that step's folder: the one before is taken up")
