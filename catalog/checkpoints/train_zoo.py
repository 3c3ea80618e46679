"""Trains the checkpoints that ship with spectrakit, one for each mixer, by their recipes.

    python catalog/checkpoints/train_zoo.py RUNS            # all of them, an hour on one core
    python catalog/checkpoints/train_zoo.py RUNS digits-s4d

RUNS is a folder for the training runs; those that are finished there are taken as they are. What
ships is the final model with its recipe, its log and what it achieves, and the table of README.md.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import spectrakit as sk
from spectrakit.training.data.digits import DigitsData

HERE = Path(__file__).parent
README = HERE / "README.md"
#: The recipes, one for each mixer.
ZOO = (
    "mqar-softmax", "digits-linear", "digits-norm", "digits-s4", "digits-s4d", "digits-s4d-real",
    "digits-dss", "digits-s5", "digits-lru", "digits-dense", "digits-mamba", "mqar-mamba2",
    "digits-mamba2-pseudo-lti", "mqar-deltanet", "mqar-gated-deltanet", "mqar-kda", "mqar-rwkv7",
    "mqar-mlstm",
)  # fmt: skip
#: What is taken over of a run's table into the log.
COLUMNS = ("step", "split", "loss", "metric")
BEGIN, END = "<!-- begin: train_zoo.py -->", "<!-- end -->"


def train(name: str, runs: Path) -> None:
    """One checkpoint, into its folder."""
    result = sk.train(f"tiny/{name}", runs / name)
    final = runs / name / "checkpoints" / f"step-{result.step:08d}"
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    for file in ("config.json", "model.safetensors"):
        shutil.copy(final / file, folder / file)
        (folder / file).chmod(0o644)
    shutil.copy(runs / name / "recipe.toml", folder / "recipe.toml")
    rows = sk.read_training(runs / name).table("training").select(COLUMNS).to_pylist()
    with (folder / "training_log.csv").open("w", newline="") as log:
        written = csv.writer(log, lineterminator="\n")
        written.writerow(COLUMNS)
        written.writerows(kept(rows))
    with sk.open_checkpoint(str(folder)) as model:
        parameters = sum(entry.elements for entry in model.checkpoint.tensors.values())
    told = {"accuracy": result.test, "steps": result.step, "parameters": parameters}
    (folder / "accuracy.json").write_text(json.dumps(told, indent=1) + "\n")


def row_of(name: str) -> dict[str, object]:
    """Of the table, from what ships."""
    recipe = sk.read_recipe(HERE / name / "recipe.toml")
    told = json.loads((HERE / name / "accuracy.json").read_text())
    return {"name": name, "mixer": recipe.kind, "task": recipe.task.name, **told}


def kept(rows: list[dict[str, object]]) -> list[list[object]]:
    """Every evaluation, and the loss of every 20th batch."""
    chosen = [row for row in rows if row["split"] != "train" or int(str(row["step"])) % 20 == 0]
    return [
        [row["step"], row["split"], f"{row['loss']:.4f}",
         "" if row["metric"] is None else f"{row['metric']:.4f}"]
        for row in chosen
    ]  # fmt: skip


def baseline() -> float:
    """Logistic regression on the pixels of the digits: the same split, the same test images."""
    from sklearn.linear_model import LogisticRegression

    data = DigitsData()
    train, test = (data.batch(split, range(data.size(split))) for split in ("train", "test"))
    model = LogisticRegression(max_iter=5000).fit(train.inputs / 16, train.targets)
    return float(model.score(test.inputs / 16, test.targets))


def write_table(rows: list[dict[str, object]]) -> None:
    """The table of README.md."""
    lines = [
        "| name | mixer | task | parameters | steps | test accuracy |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| `{row['name']}` | {row['mixer']} | {row['task']} | {row['parameters']:,} "
            f"| {row['steps']:,} | {100 * float(str(row['accuracy'])):.1f} % |"
            for row in rows
        ),
        f"| (logistic regression) | | digits | 650 | | {100 * baseline():.1f} % |",
    ]
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}")


def main() -> None:
    runs = Path(sys.argv[1])
    chosen = sys.argv[2:] or list(ZOO)
    for name in chosen:
        train(name, runs)
    write_table([row_of(name) for name in ZOO])


if __name__ == "__main__":
    main()
