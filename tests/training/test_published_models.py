"""Models of transformers by a recipe: marked, watched, resumed, read back as what they are."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

import spectrakit as sk
from spectrakit.errors import UsageError
from spectrakit.training.configured import model_for, open_task
from spectrakit.training.models.mixer_module import is_recurrence
from spectrakit.training.optimiser import parameter_groups
from spectrakit.training.recipes.files import read_recipe
from spectrakit.training.recipes.schema import Recipe
from spectrakit.training.run import Where, train
from tests.training.tiny import Until, losses

MAMBA = {"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 2, "state_size": 3}
LLAMA = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 8,
         "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip


def recipe(transformers=MAMBA, **changes):
    return Recipe.model_validate({
        "task": {"name": "bytes", "length": 16},
        "transformers": transformers,
        "budget": {"steps": 6, "batch": 4},
        "evaluation": {"every": 3, "examples": 4},
        "tracking": {"every": 2},
        "checkpoints": {"every": 1},
        **changes,
    })  # fmt: skip


def test_what_makes_its_eigenvalues_never_decays():
    chosen = recipe()
    model = model_for(chosen, open_task(chosen).shape)
    marked = {n.rpartition(".mixer.")[2] for n, p in model.named_parameters() if is_recurrence(p)}
    assert marked == {"A_log", "dt_proj.bias"}
    groups = {group["name"]: group for group in parameter_groups(model, chosen.optimiser)}
    assert groups["recurrence"]["weight_decay"] == 0
    assert len(groups["recurrence"]["params"]) == 4


def test_it_is_resumed_exactly_and_read_as_its_own_architecture(tmp_path):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    train(recipe(), Where(whole, "cpu"))
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), Where(parted, "cpu"), Until(3, interrupt))
    assert train(recipe(), Where(parted, "cpu")).resumed_at == 2
    assert losses(whole) == losses(parted)
    rows = sk.read_training(whole).table("training_spectrum").to_pylist()
    assert {row["layer"] for row in rows} == {0, 1}
    for step in (0, 6):
        run = sk.analyze(str(whole), at=step)
        assert set(run.table("layers")["kind"].to_pylist()) == {"mamba"}


def interrupt():
    raise KeyboardInterrupt


def test_attention_is_watched_on_a_probe(tmp_path):
    found = train(recipe(LLAMA, tracking={"every": 3, "probe": True}), Where(tmp_path / "a", "cpu"))
    rows = sk.read_training(found.folder).table("training_spectrum").to_pylist()
    assert {row["mode"] for row in rows} == {"data"}


@pytest.mark.parametrize(
    ("transformers", "says", "hint"),
    [({**MAMBA, "hiden_size": 4}, "has no key 'hiden_size'", "hidden_size"),
     ({"model_type": "mambo"}, "no model_type 'mambo'", "mamba"),
     ({**MAMBA, "vocab_size": 9}, "the task has 256 tokens", "vocab_size"),
     ({**LLAMA, "num_attention_heads": 3}, "transformers makes no", None)],
)  # fmt: skip
def test_what_makes_no_model_is_said(transformers, says, hint):
    chosen = recipe(transformers)
    with pytest.raises(UsageError, match=says) as error:
        model_for(chosen, open_task(chosen).shape)
    assert hint is None or hint in error.value.hint


def test_classes_and_mixers_are_another_kind_of_recipe():
    chosen = recipe(task={"name": "digits"})
    with pytest.raises(UsageError, match="this task has classes"):
        model_for(chosen, open_task(chosen).shape)
    with pytest.raises(ValidationError, match="either transformers, or mixer and model"):
        recipe(mixer={"name": "s4d"})


@pytest.mark.parametrize("name", ["tiny-mamba", "tiny-mamba2", "tiny-llama"])
def test_the_recipes_of_the_bundled_models_make_models_of_their_sizes(name):
    chosen = read_recipe(f"tiny/bytes-{name}")
    model = model_for(chosen, open_task(chosen).shape)
    with sk.open_checkpoint(name) as bundled:
        tensors = bundled.checkpoint.tensors
        made = {n: tuple(p.shape) for n, p in model.named_parameters()}
        assert {n: tuple(entry.shape) for n, entry in tensors.items() if n in made} == made
