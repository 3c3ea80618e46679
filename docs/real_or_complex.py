"""S4D against S4D-Real, five seeds each, on two tasks: accuracies, and where eigenvalues went.

    python docs/real_or_complex.py RUNS CIFAR    # two hours on one core; CIFAR as task.path= has it

RUNS is a folder for the training runs; those that are finished there are taken as they are. Writes
the tables of real-or-complex.md, and the logs and pictures beside it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import numpy as np
from scipy.stats import t as student

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # as a script, it stands in docs/

import spectrakit as sk  # noqa: E402
from spectrakit.display.chart_style import ACCENT, BAR, data, figure_style  # noqa: E402

PAGE, FOLDER = HERE / "real-or-complex.md", HERE / "real-or-complex"
BEGIN, END = "<!-- begin: real_or_complex.py -->", "<!-- end -->"
MIXERS = {"s4d": "S4D", "s4d-real": "S4D-Real"}
SEEDS = range(5)
COLUMNS = ("step", "split", "loss", "metric")
_PER_DECADE = 5


@dataclass(frozen=True)
class Setting:
    """What is trained with both mixers.

    task: begins the recipe's name. frozen: whether eigenvalues stay where they started. slow:
    whether steps, and so timescales, start a tenth as large, and ten times as long.
    """

    name: str
    task: str
    frozen: bool = False
    slow: bool = False

    @property
    def mixers(self) -> tuple[str, ...]:
        """Of `MIXERS`, those that are trained."""
        return ("s4d-real",) if self.slow else tuple(MIXERS)


DIGITS, CIFAR = (
    Setting("sequential digits", "digits"),
    Setting("CIFAR-10, 16 x 16, gray", "cifar16"),
)
FROZEN = Setting("sequential digits, eigenvalues frozen", "digits", frozen=True)
#: S4D-Real alone: it starts with shorter timescales than S4D does, and here with as long ones.
SLOW = Setting("sequential digits, steps a tenth", "digits", slow=True)

Measure = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Trained:
    """One run: its accuracy on test examples, and its eigenvalues at first and at last.

    eigenvalues: by layer, (2, n) complex, both in the same order, conjugates included.
    """

    accuracy: float
    eigenvalues: dict[int, np.ndarray]


Runs = dict[tuple[Setting, str], list[Trained]]


def trained(setting: Setting, mixer: str, seed: int, runs: Path, cifar: str) -> Trained:
    """The run into RUNS, or as it is there; its log into the folder of the page."""
    recipe = f"{setting.task}-{mixer}"
    told = "-frozen" if setting.frozen else "-slow" if setting.slow else ""
    name = f"{recipe}{told}-{seed}"
    changes: dict[str, object] = {"seed": seed}
    if setting is CIFAR:
        changes["task.path"] = cifar
    if setting.frozen:
        changes["model.frozen"] = ["eigenvalues"]
    if setting.slow:
        changes |= {"mixer.dt_min": 1e-4, "mixer.dt_max": 1e-2}
    result = sk.train(f"tiny/{recipe}", runs / name, changes=changes, threads=1)
    rows = sk.read_training(runs / name).table("training").select(COLUMNS).to_pylist()
    with (FOLDER / f"{name}.csv").open("w", newline="") as log:
        written = csv.writer(log, lineterminator="\n")
        written.writerow(COLUMNS)
        written.writerows(_kept(rows))
    first, last = (_eigenvalues(runs / name, step) for step in (0, result.step))
    both = {layer: np.stack([first[layer], last[layer]]) for layer in first}
    return Trained(float(result.test or 0), both)


def _kept(rows: Sequence[dict[str, object]]) -> Iterator[list[object]]:
    """Every evaluation, and the loss of every 50th batch."""
    for row in rows:
        if row["split"] != "train" or int(str(row["step"])) % 50 == 0:
            metric = "" if row["metric"] is None else f"{row['metric']:.4f}"
            yield [row["step"], row["split"], f"{row['loss']:.4f}", metric]


def _eigenvalues(run: Path, step: int) -> dict[int, np.ndarray]:
    """Those of each layer, in the order of channels and states."""
    table = sk.analyze(str(run), at=step).table("spectrum")
    column = {name: table[name].to_numpy() for name in ("layer", "re", "im")}
    discrete = table["domain"].to_numpy(zero_copy_only=False) == "discrete"
    values = column["re"] + 1j * column["im"]
    return {
        int(layer): values[discrete & (column["layer"] == layer)]
        for layer in np.unique(column["layer"])
    }


# ---- tables --------------------------------------------------------------------------------------


def accuracies(runs: Runs) -> Iterator[str]:
    """Means over the seeds, and the difference seed by seed with its interval."""
    yield "| task | S4D | S4D-Real | difference (95 % interval) |"
    yield "| --- | --- | --- | --- |"
    for setting in (DIGITS, CIFAR, FROZEN, SLOW):
        complex_ones = DIGITS if setting.slow else setting
        found = {
            mixer: np.array([100 * run.accuracy for run in runs[of, mixer]])
            for of, mixer in ((complex_ones, "s4d"), (setting, "s4d-real"))
        }
        means = [f"{x.mean():.1f} % ({x.min():.1f} to {x.max():.1f})" for x in found.values()]
        difference = found["s4d"] - found["s4d-real"]
        half = student.ppf(0.975, len(difference) - 1) * difference.std(ddof=1)
        half /= len(difference) ** 0.5
        low, high = difference.mean() - half, difference.mean() + half
        told = f"{difference.mean():.1f} points ({low:.1f} to {high:.1f})"
        yield f"| {setting.name} | {' | '.join(means)} | {told} |"


def movements(runs: Runs) -> Iterator[str]:
    """Medians over all eigenvalues of a layer and all seeds."""
    yield (
        "| task | mixer | layer | timescale at first: quartiles (tokens) | at last "
        "| half moved by a factor of more than | period at first: quartiles (tokens) | at last |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for (setting, mixer), of_seeds in runs.items():
        if setting.frozen or setting.slow:
            continue
        for layer in of_seeds[0].eigenvalues:
            both = np.concatenate([run.eigenvalues[layer] for run in of_seeds], 1)
            scales = timescales(both)
            moved = np.median(np.abs(np.log(scales[1] / scales[0])))
            told = [_quartiles(x) for x in scales]
            told.append(f"{np.exp(moved):.2f}")
            complex_ones = mixer == "s4d"
            told += [_quartiles(x) if complex_ones else "" for x in periods(both)]
            yield f"| {setting.name} | {MIXERS[mixer]} | {layer} | {' | '.join(told)} |"


def _quartiles(x: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in np.quantile(x, [0.25, 0.5, 0.75], method="lower"))


def timescales(eigenvalues: np.ndarray) -> np.ndarray:
    """-1 / log |lambda|, in tokens."""
    return -1 / np.log(np.abs(eigenvalues))


def periods(eigenvalues: np.ndarray) -> np.ndarray:
    """2 pi / |arg lambda|, in tokens; infinite where it does not turn."""
    with np.errstate(divide="ignore"):
        return 2 * np.pi / np.abs(np.angle(eigenvalues))


# ---- pictures ------------------------------------------------------------------------------------


def picture(setting: Setting, runs: Runs) -> alt.VConcatChart:
    """Where eigenvalues were and are: timescales of both mixers, and periods, layer by layer."""
    rows = [
        alt.HConcatChart(hconcat=[
            _distribution(measure, [run.eigenvalues[layer] for run in runs[setting, mixer]],
                          f"{MIXERS[mixer]}, layer {layer}", unit)
            for layer in runs[setting, mixer][0].eigenvalues
        ])
        for mixer, measure, unit in (
            ("s4d", timescales, "timescale (tokens)"),
            ("s4d-real", timescales, "timescale (tokens)"),
            ("s4d", periods, "period (tokens)"),
        )
    ]  # fmt: skip
    notes = [
        "shares of eigenvalues in fifths of a decade: before training (blue) and after (orange)"
    ]
    return alt.VConcatChart(vconcat=rows, **figure_style(setting.name, notes))


def _distribution(
    measure: Measure, eigenvalues: list[np.ndarray], title: str, unit: str
) -> alt.LayerChart:
    values = measure(np.concatenate(eigenvalues, 1))
    edges = np.arange(-1, 4 + 1 / _PER_DECADE, 1 / _PER_DECADE)
    axis = alt.X(
        "x:Q", title=unit, scale=alt.Scale(type="log"), axis=alt.Axis(format=",~g", tickCount=5)
    )
    lines = []
    for which, colour in ((0, BAR), (1, ACCENT)):
        places = np.log10(np.clip(values[which], 0.11, 9_900))
        shares = np.histogram(places, edges)[0] / values.shape[1]
        points = [
            {"x": float(10**x), "share": float(y)} for x, y in zip(edges[:-1], shares, strict=True)
        ]
        lines.append(
            alt.Chart(data(points))
            .mark_line(color=colour, interpolate="step-after", strokeWidth=1.5)
            .encode(
                x=axis,
                y=alt.Y("share:Q", title="share", axis=alt.Axis(format="~%", tickCount=4)),
            )
        )
    return alt.LayerChart(layer=lines, width=190, height=110, title=title)


def main() -> None:
    """See the module."""
    runs_folder, cifar = Path(sys.argv[1]), sys.argv[2]
    FOLDER.mkdir(exist_ok=True)
    runs = {
        (setting, mixer): [trained(setting, mixer, seed, runs_folder, cifar) for seed in SEEDS]
        for setting in (DIGITS, FROZEN, SLOW, CIFAR)
        for mixer in setting.mixers
    }
    for setting in (DIGITS, CIFAR):
        picture(setting, runs).save(str(FOLDER / f"{setting.task}.svg"))
    tables = [*accuracies(runs), "", *movements(runs)]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join(tables) + f"\n\n{END}{after}")


if __name__ == "__main__":
    main()
