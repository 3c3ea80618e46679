"""One batch of a model of every family, with some among them that are broken, hostile or harmful.

Each good one has its tables, each bad one its reason and its exit code, and none disturbs another.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from spectrakit.plugins import plugins
from spectrakit.tables import read_run
from tests.conftest import CHECKPOINTS
from tests.families import FAMILIES
from tests.testing.test_builtin_architectures import EXAMPLES

from .hurting import WAYS, hurting_model, install_hurting
from .killing import Command, left_running, paths

pytestmark = pytest.mark.slow

MIXERS = plugins().register().mixers.things
#: Seconds that one model may take here; none of the good ones takes a tenth of it.
LIMIT = 15
#: What the plugin does to its process, and how each ends: the kind, the exit code, the reason.
HURTING = {
    way: (kind, 1, reason.replace("1.5", str(LIMIT))) for way, (kind, reason) in WAYS.items()
}
#: Those that hang are long, and one is enough.
del HURTING["spin"]


def copied(folder, tiny="tiny-mamba"):
    shutil.copytree(CHECKPOINTS / tiny, folder)
    return folder / "model.safetensors"


def config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def cut(folder):
    weights = copied(folder)
    os.truncate(weights, weights.stat().st_size - 1000)


def empty(folder):
    copied(folder).write_bytes(b"")


def not_finite(folder):
    weights = copied(folder)
    tensors = load_file(weights)
    name = next(name for name in tensors if name.endswith("A_log"))
    tensors[name][0] = torch.nan
    save_file(tensors, weights, {"format": "pt"})


def too_large(folder):
    """Of a trillion parameters, as far as its config goes."""
    copied(folder)
    config(folder, num_hidden_layers=10**6, hidden_size=10**6, intermediate_size=2 * 10**6)


def other_shapes(folder):
    copied(folder)
    config(folder, state_size=17)


def deep(folder):
    copied(folder)
    (folder / "config.json").write_text("[" * 100_000)


def no_json(folder):
    copied(folder)
    (folder / "config.json").write_bytes(b"\x00\xff")


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def pickled(folder):
    copied(folder).unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil(), protocol=2))
        archive.writestr("archive/version", "3\n")


def unknown(folder):
    folder.mkdir()
    save_file({"weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "nobodys"}')


#: Bad checkpoints: how each is made, its exit code, and what its reason says.
BAD = {
    "cut": (cut, 4, "model.safetensors"),
    "empty": (empty, 4, "model.safetensors"),
    "not-finite": (not_finite, 4, "NaN"),
    "too-large": (too_large, 4, ""),
    "other-shapes": (other_shapes, 4, ""),
    "deep": (deep, 4, "config.json"),
    "no-json": (no_json, 4, "config.json"),
    "pickled": (pickled, 4, "system"),
    "unknown": (unknown, 3, "nobodys"),
    "bert": (None, 3, "every token sees all others"),
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Where it all is, how the command ended, `models.parquet` by name, and the good models."""
    home = tmp_path_factory.mktemp("zoo-of-models")
    good = make_zoo(home)
    (home / "plugin").mkdir()
    install_hurting(home / "plugin")
    for name in ("json", "torch", "spectrakit", "numpy"):  # whoever is in this folder imports these
        (home / f"{name}.py").write_text(f"open({str(home / 'pwned')!r}, 'w')")
    more = {"SPECTRAKIT_LOAD_PLUGINS": "hurting", "HURTING_LEFT": str(home / "left")}
    words = [str(home / "zoo.toml"), "--time-limit", str(LIMIT), "--memory-limit", "2",
             "--jobs", "3", "--retries", "0"]  # fmt: skip
    command = Command(words, home / "D", more, where=home)
    done = command.run(PYTHONPATH=str(home / "plugin"))
    rows = pq.read_table(home / "D" / "summary" / "models.parquet").to_pylist()
    return home, done, {row["run"]: row for row in rows}, good


def make_zoo(home):
    """All models and their list; the good ones by the kinds of their layers."""
    np.save(home / "ids.npy", FAMILIES[0].token_ids(2).numpy())
    data = "mode = 'data'\nsource.tokens = 'ids.npy'\n"
    good = {}
    told = ["[defaults]\nanalyses = ['spectrum']\nmode = 'weights'\n"]
    for way in HURTING:
        hurting_model(home / f"hurting-{way}", way)
        told.append(f"[models.hurting-{way}]\nmodel = 'hurting-{way}'\n")
    for family in FAMILIES:
        family.write(home / str(family))
        good[str(family)] = family.kinds
        told.append(f"[models.{json.dumps(str(family))}]\nmodel = '{family}'\n{data}")
    for example in EXAMPLES:
        example.write(home / example.name)
        good[example.name] = example.kinds
        how = ""
        known = [MIXERS[kind].thing for kind in example.kinds if kind in MIXERS]
        if known and not any(mixer.weights_mode for mixer in known):
            np.save(home / f"{example.name}.npy", example.tokens.numpy())
            how = f"mode = 'data'\nsource.tokens = '{example.name}.npy'\n"
        told.append(f"[models.{example.name}]\nmodel = '{example.name}'\n{how}")
    del good["bert"]
    for name, (make, *_) in BAD.items():
        if make is not None:
            make(home / name)
            told.append(f"[models.{name}]\nmodel = '{name}'\n")
    told.append("[models.nowhere]\nmodel = 'nobody/nothing'\n")
    told.extend(f"[models.{name}]\n" for name in ("tiny-mamba", "tiny-mamba2"))
    (home / "zoo.toml").write_text("\n".join(told))
    return good


def test_it_is_a_zoo(zoo):
    home, done, rows, good = zoo
    assert len(good) >= 100
    assert len(rows) == len(good) + 2 + len(BAD) + len(HURTING) + 1
    assert done.returncode == 5, done.stderr
    assert f"{len(BAD) + len(HURTING) + 1} of {len(rows)} models failed" in done.stderr
    assert left_running(str(home / "left")) == []


def test_each_good_one_has_its_tables(zoo):
    home, _, rows, good = zoo
    unfinished = {name: rows[name]["reason"] for name in good if rows[name]["status"] != "finished"}
    assert unfinished == {}
    for name, kinds in good.items():
        run = read_run(home / "D" / "runs" / name)
        layers = run.table("layers").to_pylist()
        assert tuple(row["kind"] for row in layers) == kinds, name
        analysed = {row["layer"] for row in layers if row["status"] == "analysed"}
        assert analysed, name
        assert set(run.table("spectrum_summary")["layer"].to_pylist()) == analysed, name


@pytest.mark.parametrize("name", BAD)
def test_each_broken_one_has_its_reason_and_its_exit_code(zoo, name):
    _, done, rows, _ = zoo
    row = rows[name]
    _, code, says = BAD[name]
    assert (row["status"], row["kind"], row["exit_code"]) == ("failed", "error", code), row
    assert says in row["reason"], row
    assert "bug of" not in row["reason"]
    assert f"failed: {name}: " in done.stderr


@pytest.mark.parametrize("way", HURTING)
def test_each_harmful_one_has_its_reason_and_its_kind(zoo, way):
    row = zoo[2][f"hurting-{way}"]
    kind, code, says = HURTING[way]
    assert (row["status"], row["kind"], row["exit_code"]) == ("failed", kind, code), row
    assert says in row["reason"], row


def test_one_that_the_hub_does_not_have_is_no_worse(zoo):
    row = zoo[2]["nowhere"]
    assert (row["status"], row["kind"], row["exit_code"]) == ("failed", "error", 6), row


def test_nothing_else_is_there(zoo):
    home, _, rows, _ = zoo
    D = home / "D"
    finished = {name for name, row in rows.items() if row["status"] == "finished"}
    assert {path.name for path in (D / "runs").iterdir()} == finished
    assert {path.name for path in D.iterdir()} == {"batch.json", "journal", "runs", "summary"}
    assert not [path for path in paths(D) if "/." in path]
    assert not (home / "pwned").exists()


def test_the_leaderboard_has_all_that_can_be_compared(zoo):
    board = pq.read_table(zoo[0] / "D" / "summary" / "leaderboard.parquet").to_pylist()
    boards = {row["board"] for row in board}
    assert boards == {"longest memory", "most selective", "closest pairs", "oddest"}
    assert {"tiny-mamba", "tiny-mamba2"} <= {row["run"] for row in board}
