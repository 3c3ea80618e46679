"""Recipes: read, extended, changed, written again; mistakes with their file and line."""

from __future__ import annotations

import tomllib

import pytest
import torch

from spectrakit.errors import MalformedError, UsageError
from spectrakit.training.configured import model_config, open_task, total_steps
from spectrakit.training.data.base import TaskShape
from spectrakit.training.models.backbone import model_of
from spectrakit.training.recipes.files import read_recipe, recipe_names, validated
from spectrakit.training.recipes.lines import line_of
from spectrakit.training.recipes.written import as_toml

BASE = """\
description = "A base."

[task]
name = "mqar"
pairs = 4
length = 32

[mixer]
name = "mamba2"
heads = 2

[budget]
steps = 10
"""


@pytest.fixture
def file(tmp_path):
    def write(text, name="recipe.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


#: Of tasks whose data are not here: what their examples are like.
SHAPES = {
    "cifar10": TaskShape("classification", "values", 256, 1024, classes=10),
    "imdb": TaskShape("classification", "tokens", 257, 4096, classes=2),
    "wikitext": TaskShape("language", "tokens", 50257, 1024, metric="bits_per_token"),
}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_ships_makes_its_model(name):
    recipe = read_recipe(name)
    assert recipe.description
    shape = SHAPES.get(recipe.task.name)
    if shape is None:
        data = open_task(recipe)
        assert total_steps(recipe, data) > 0
        shape = data.shape
    else:
        with pytest.raises(UsageError, match="not come with spectrakit"):
            open_task(recipe)
    with torch.device("meta"):
        model = model_of(model_config(recipe, shape))
    assert len(model.model.blocks) == recipe.model.depth
    assert sum(p.numel() for p in model.parameters()) > 0


#: Of arXiv 2510.09379: rate and weight decay by mixer, for CIFAR-10, IMDb, ListOps, MQAR, WikiText.
TASKS = ("cifar10", "imdb", "listops", "mqar", "wikitext")
PUBLISHED = {
    "softmax": "2e-4/0 2e-4/.1 2e-4/.1 4.6416e-4/.1 1e-3/.1",
    "linear": "2e-4/0 2e-4/.1 2e-4/.1 1e-2/.1 5e-4/.1",
    "norm": "2e-4/0 4e-4/.1 4e-4/.1 1e-3/.1 1e-3/.1",
    "mamba2": "2e-4/0 5e-4/.01 5e-4/.01 1e-2/.1 1e-3/.1",
    "s4": "1e-2/.05 5e-4/0 5e-4/0 4.6416e-4/.1 1e-3/.1",
    "lru": "5e-3/.05 5e-4/0 1e-2/.05 4.6416e-4/.01 1e-3/.1",
}
#: Layers, width, heads, batch of each task; two batches are of attention and of state spaces.
SIZES = {"cifar10": (6, 512, 4, 50), "imdb": (4, 128, 4, 6), "listops": (6, 128, 4, (8, 50)),
         "mqar": (2, 128, 1, 64), "wikitext": (6, 512, 8, 8)}  # fmt: skip


@pytest.mark.parametrize("mixer", PUBLISHED)
def test_recipes_of_the_paper_are_its_table(mixer):
    for task, cell in zip(TASKS, PUBLISHED[mixer].split(), strict=True):
        recipe = read_recipe(f"rickenbach2025/{task}-{mixer}")
        rate, decay = (float(part) for part in cell.split("/"))
        assert (recipe.optimiser.rate, recipe.optimiser.weight_decay) == (rate, decay)
        depth, width, heads, batch = SIZES[task]
        assert (recipe.model.depth, recipe.model.width) == (depth, width)
        assert recipe.mixer.options.get("heads", heads) == heads
        attention = mixer in ("softmax", "linear", "norm")
        wanted = batch if isinstance(batch, int) else batch[0 if attention else 1]
        assert recipe.budget.batch == wanted
        assert (recipe.task.name, recipe.mixer.name) == (task, mixer)


def test_a_recipe_extends_another_key_by_key(file):
    file(BASE, "base.toml")
    child = file('extends = "base.toml"\n[mixer]\nstate_size = 8\n[budget]\nepochs = 2.0\n')
    recipe = read_recipe(child)
    assert recipe.mixer.options == {"heads": 2, "state_size": 8}
    assert recipe.task.options == {"pairs": 4, "length": 32}
    assert (recipe.budget.steps, recipe.budget.epochs) == (None, 2.0)


def test_another_mixer_takes_no_options_of_the_one_before(file):
    file(BASE, "base.toml")
    recipe = read_recipe(file('extends = "base.toml"\n[mixer]\nname = "s4d"\n'))
    assert recipe.mixer.options == {}


def test_changes_are_toml_and_words_need_no_quotation_marks(file):
    path = file(BASE)
    recipe = read_recipe(path, ["model.width=128", "mixer.name=lru", "model.frozen=['eigenvalues']",
                                "optimiser.clip=2", "budget.epochs=1.5"])  # fmt: skip
    assert recipe.model.width == 128
    assert recipe.mixer.name == "lru"
    assert recipe.mixer.options == {}
    assert recipe.model.frozen == ("eigenvalues",)
    assert recipe.optimiser.clip == 2
    assert recipe.budget.steps is None
    assert read_recipe(path, {"model.width": 128}).model.width == 128


@pytest.mark.parametrize("name", recipe_names())
def test_what_is_written_is_read_back(name, file):
    recipe = read_recipe(name)
    text = as_toml(recipe)
    assert tomllib.loads(text)
    again = read_recipe(file(text))
    assert again == recipe
    assert again.digest == recipe.digest
    assert validated(recipe.record()) == recipe


def test_the_digest_is_of_what_decides_the_weights(file):
    recipe = read_recipe(file(BASE))
    same = ["description=other", "tracking.every=7", "checkpoints.every=3", "budget.micro_batch=4"]
    assert all(read_recipe(file(BASE), [change]).digest == recipe.digest for change in same)
    other = ["seed=1", "model.width=32", "optimiser.rate=0.1", "task.pairs=5", "mixer.heads=4"]
    assert all(read_recipe(file(BASE), [change]).digest != recipe.digest for change in other)


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        (BASE + "[model]\nwidht = 3\n", "line 15: unknown key 'model.widht'", "width"),
        (BASE + "widht = 3\n", "line 14: unknown key 'budget.widht'", "one of"),
        ("widht = 3\n" + BASE, "line 1: unknown key 'widht'", "one of"),
        (BASE + "[model]\nwidth = -3\n", "line 15: model.width is -3: ", None),
        (BASE + '[model]\nmlp = "big"\n', "line 15: model.mlp is 'big'", None),
        (BASE.replace("steps = 10", ""), "line 12: budget", None),
        (BASE + "epochs = 1.0\n", "line 12: budget", None),
        (BASE + "batch = 10\nmicro_batch = 3\n", "does not divide", None),
        ("[task]\nname = 'digits'\n", "budget: field required", None),
        ("seed = 'x'\n" + BASE, "line 1: seed is 'x'", None),
    ],
)
def test_a_mistake_is_told_with_its_line(file, text, says, hint):
    with pytest.raises(UsageError) as error:
        read_recipe(file(text))
    assert says in error.value.message
    assert hint is None or hint in error.value.hint
    assert "\n" not in error.value.message


def test_a_mistake_in_a_recipe_that_is_extended_names_that_file(file):
    file(BASE + "[model]\nwidth = 0\n", "base.toml")
    with pytest.raises(UsageError, match=r"base.toml, line 15: model.width is 0"):
        read_recipe(file('extends = "base.toml"\nseed = 3\n'))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("task.pears=3", "task mqar has no option 'pears'"),
        ("task.pairs=30", "30 pairs and their questions"),
        ("mixer.head=3", "mixer mamba2 has no option 'head'"),
        ("mixer.heads=0", "mixer.heads is 0"),
        ("mixer.name=mambo", "unknown mixer 'mambo'"),
        ("task.name=digit", "unknown task 'digit'"),
        ("mixer.heads=5", "5 heads do not divide"),
    ],
)
def test_mistakes_in_options_of_tasks_and_mixers(file, change, says):
    recipe = read_recipe(file(BASE), [change])
    with pytest.raises(UsageError, match=says):
        model_of(model_config(recipe, open_task(recipe).shape))


def test_files_that_are_no_recipes(file, tmp_path):
    with pytest.raises(MalformedError, match="is not TOML"):
        read_recipe(file("a = ["))
    with pytest.raises(UsageError, match="there is no recipe 'tiny/digit-s4d'") as error:
        read_recipe("tiny/digit-s4d")
    assert "tiny/digits-s4d" in error.value.hint
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(MalformedError, match="not UTF-8"):
        read_recipe(tmp_path / "binary.toml")
    large = file("#" + "x" * (1 << 20))
    with pytest.raises(MalformedError, match="too large"):
        read_recipe(large)


def test_recipes_that_extend_in_a_circle(file):
    file('extends = "b.toml"\n', "a.toml")
    file('extends = "a.toml"\n', "b.toml")
    with pytest.raises(UsageError, match="extends itself"):
        read_recipe(file('extends = "a.toml"\n'))
    with pytest.raises(UsageError, match="extends is 3"):
        read_recipe(file("extends = 3\n" + BASE))


@pytest.mark.parametrize("change", ["model.width", "=3", "model..width=3", "3=4"])
def test_a_change_that_sets_nothing(file, change):
    with pytest.raises(UsageError, match="does not set anything"):
        read_recipe(file(BASE), [change])


def test_lines_of_keys():
    assert line_of(BASE, ["task", "pairs"]) == 5
    assert line_of(BASE, ["mixer"]) == 8
    assert line_of(BASE, ["budget", "epochs"]) == 12
    assert line_of(BASE, ["nothing"]) is None
    assert line_of("a.b = 3\n", ["a", "b"]) == 1
