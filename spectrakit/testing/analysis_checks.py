"""The checks of an analysis: that it keeps what it declares, on a run of its example."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import spectrakit as sk
from spectrakit.analyses.base import Request
from spectrakit.options import settings
from spectrakit.report.plain_console import as_html
from spectrakit.report.terminal import run_report
from spectrakit.spec_files import spec_from
from spectrakit.tables import LAYERS, Manifest, MemorySink, read_run
from spectrakit.tables.comparison_schemas import SUMMARY_DIFFERENCE, UNLIKE
from spectrakit.testing.fresh_process import imported_by_declaring, run_command
from spectrakit.testing.other_values import changed
from spectrakit.testing.require import CheckFailed, require, require_equal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spectrakit.options import Options
    from spectrakit.tables.summary_numbers import SummaryTable
    from spectrakit.testing.analysis_bench import AnalysisBench

#: The methods that go with what an analysis sees.
_METHODS = {
    "recurrences": ("see",),
    "states": ("see_states", "end_batch"),
    "reruns": ("see_rerun",),
    "prompts": ("see_prompts",),
}


def has_what_it_sees(bench: AnalysisBench) -> None:
    """What it starts has `finish`, the methods of what it `sees`, and none of what it does not."""
    request = Request(*bench.spec.options, seed=bench.spec.seed)
    nowhere = MemorySink(Manifest(model_id="", revision="", mode="data"))
    started = bench.kind.start(nowhere, request)
    require(hasattr(started, "finish"), "it has no finish")
    for sight, methods in _METHODS.items():
        for method in methods:
            if sight in bench.kind.sees:
                require(hasattr(started, method), f"it sees {sight} and has no {method}")
            else:
                never = f"it has {method}, which is never called: it does not say that it sees"
                require(not hasattr(started, method), f"{never} {sight}")


def is_declared_without_torch(bench: AnalysisBench) -> None:
    """Declaring it, with its options and tables, imports neither torch nor numpy nor a chart."""
    imported = imported_by_declaring(bench.plugin.name)
    require(not imported, f"{' and '.join(imported)} imported")


def options_are_explained(bench: AnalysisBench) -> None:
    """Every option has a help that is a sentence, and can have another value than it has."""
    for options, setting in bench.options:
        what = f"the help of {setting.keyword}"
        text = setting.rule.help
        require(text[:1].isupper() and text.endswith("."), f"{what} is no sentence: {text!r}")
        _otherwise(bench, options, setting.name)


def options_are_recorded(bench: AnalysisBench) -> None:
    """Changing an option changes what `run.json` records, and the key by which a run is known."""
    for options, setting in bench.options:
        other = _otherwise(bench, options, setting.name)
        what = f"with another {setting.keyword}"
        require(other.record() != bench.spec.record(), f"{what} the record is the same")
        require(other.digest({}) != bench.spec.digest({}), f"{what} the key is the same")


def options_survive_json(bench: AnalysisBench) -> None:
    """What is recorded is read back as the same options, whatever their values."""
    specs = [_otherwise(bench, options, setting.name) for options, setting in bench.options]
    for spec in (bench.spec, *specs):
        read = spec_from(json.loads(json.dumps(spec.record())))
        require_equal("options read from their record", read.options, spec.options)


def tables_are_as_declared(bench: AnalysisBench) -> None:
    """It writes rows into its own tables and no others; rows and columns say what they are."""
    declared = {table.name: table for table in bench.kind.tables}
    written = set(bench.run.tables) - {LAYERS.name}
    others = sorted(written - declared.keys())
    require(not others, f"it writes the table {', '.join(others)}, which it does not declare")
    require(bool(written), "it writes no table")
    for name in written:
        require(bench.run.table(name).num_rows > 0, f"the table {name} has no rows")
    for table in declared.values():
        require(bool(table.row.strip()), f"the table {table.name} does not say what a row is")
        for column in table.columns:
            where = f"the column {column.name} of {table.name}"
            require(bool(column.meaning.strip()), f"{where} does not say what it means")


def is_deterministic(bench: AnalysisBench) -> None:
    """A second run gives the same tables, bit by bit."""
    again = sk.analyze(bench.spec)
    require_equal("tables of a second run", again.tables, bench.run.tables)
    for name in again.tables:
        same = again.table(name).equals(bench.run.table(name))
        require(same, f"a second run gives another table {name}")


def shows_itself_in_the_terminal(bench: AnalysisBench) -> None:
    """Its view, if there is one, shows the run; so do the terminal and a notebook."""
    view = bench.kind.view
    if view is not None:
        parts = view(bench.run)
        require(not isinstance(parts, str), "its view gives a text; it must be a list of parts")
        require(len(parts) > 0, "its view shows nothing of the run")
    require(bool(as_html(run_report(bench.run))), "the run shows nothing")


def draws_its_charts(bench: AnalysisBench) -> None:
    """Every chart whose table there is becomes a file, from the tables that it says it needs."""
    declared = {table.name for table in bench.kind.tables}
    for chart in bench.kind.charts:
        others = sorted({chart.table, *chart.needs} - declared - {LAYERS.name})
        require(not others, f"the chart {chart.name} needs {', '.join(others)} of others")
    run = sk.analyze(bench.spec, out=bench.folder() / "run", figures=True)
    drawn = {chart.name for chart in bench.kind.charts if chart.table in run.tables}
    files = {file.file for file in run.manifest.files.values()}
    missing = sorted(name for name in drawn if f"{name}.svg" not in files)
    require(not missing, f"the chart {', '.join(missing)} is not drawn")


def compares_runs(bench: AnalysisBench) -> None:
    """A run differs from itself by nothing, in numbers of its own tables, each with its name."""
    # Not above: they import numpy, and a process that counts imports imports this package.
    from spectrakit.comparison.compare import compare, comparison_charts
    from spectrakit.comparison.view import comparison_report
    from spectrakit.report.drawing import draw_comparison

    if bench.kind.compared is None:
        return
    compared = bench.kind.compared()
    declared = {table.name for table in bench.kind.tables}
    for summary in compared.summaries:
        require(summary.table in declared, f"it compares {summary.table}, which is not its table")
        _are_apart(bench, summary)
    for code in {code for summary in compared.summaries for code in _codes(bench, summary)}:
        explained = code in {**UNLIKE, **compared.unlike}
        require(explained, f"nothing says what the condition {code} means: unlike={{...}}")
    runs = [bench.run, bench.run]
    comparison = compare(runs)
    require(SUMMARY_DIFFERENCE.name in comparison.tables, "none of its numbers are compared")
    rows = comparison.table(SUMMARY_DIFFERENCE.name).to_pylist()
    for row in rows:
        none = row["reason"] == "no-value" or row["difference"] == 0
        require(none, f"{row['metric']} differs from itself by {row['difference']}")
    metrics = {row["metric"] for row in rows}
    for heading in (heading for columns in compared.columns for heading in columns.headings):
        require(heading in metrics, f"no number is called {heading!r}, which has a column")
    as_html(comparison_report(runs, comparison))
    draw_comparison(runs, comparison, comparison_charts())


def runs_from_the_command_line(bench: AnalysisBench) -> None:
    """`spectrakit analyze MODEL --analyses NAME` with every flag gives the same run as Python."""
    out = bench.folder() / "run"
    run_command("analyze", bench.model, *_flags(bench.spec), "--out", out, "--no-figures")
    run = read_run(out)
    require_equal("tables", set(run.tables), set(bench.run.tables))
    recorded, expected = run.manifest.spec["options"], bench.run.manifest.spec["options"]
    require_equal("recorded options", recorded, expected)


def _otherwise(bench: AnalysisBench, options: Options, name: str) -> sk.RunSpec:
    """The example's spec with another value of one option; CheckFailed where there is none."""
    (setting,) = [each for each in settings(type(options)) if each.name == name]
    other = changed(options, setting)
    if other is None:
        message = f"no value of {setting.keyword} is accepted but {getattr(options, name)!r}"
        raise CheckFailed(message)
    groups = (other if each is options else each for each in bench.spec.options)
    return replace(bench.spec, options=tuple(groups))


def _are_apart(bench: AnalysisBench, summary: SummaryTable) -> None:
    """No two numbers of a summary have one name: one would silently take the other's place."""
    if summary.table not in bench.run.tables:
        return
    counts = Counter(
        (row[summary.place], row.get("gauge", ""), *(row[label] for label in summary.labels), name)
        for row in summary.rows(bench.run.table(summary.table))
        if summary.kept(row)
        for name, _ in summary.values(row)
    )
    twice = [key for key, count in counts.items() if count > 1]
    require(not twice, f"two numbers of {summary.table} are called {twice[:1]}: labels are missing")


def _codes(bench: AnalysisBench, summary: SummaryTable) -> Iterator[str]:
    """The conditions of a summary's numbers."""
    for by_gauge in summary.numbers(bench.run).values():
        for numbers in by_gauge.values():
            for number in numbers.values():
                yield from number.conditions


def _flags(spec: sk.RunSpec) -> Iterator[str]:
    """The command line that asks for `spec`, with every option of the analysis said."""
    for holder in (spec, spec.source, *spec.options):
        said = holder in spec.options
        for setting in settings(type(holder)):
            value = getattr(holder, setting.name)
            flag = setting.keyword.replace("_", "-")
            if value is None or not (said or value != setting.default):
                continue
            if setting.type is bool:
                if value or setting.rule.negated:
                    yield f"--{flag}" if value else f"--no-{flag}"
            else:
                words = value if setting.many else (value,)
                yield from (f"--{flag}", ",".join(map(str, words)))


#: In the order they are run.
ANALYSIS_CHECKS = (
    has_what_it_sees,
    is_declared_without_torch,
    options_are_explained,
    options_are_recorded,
    options_survive_json,
    tables_are_as_declared,
    is_deterministic,
    shows_itself_in_the_terminal,
    draws_its_charts,
    compares_runs,
    runs_from_the_command_line,
)
