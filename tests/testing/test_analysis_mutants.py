"""The tests of the checks of analyses: each catches an analysis that is wrong in this way."""

from __future__ import annotations

import pytest

from spectrakit.testing import checks, run_checks
from spectrakit.testing.analysis_checks import ANALYSIS_CHECKS

WEIGHTS, TOKENS = "demo analysis, of weights", "demo analysis, of tokens"

RUNS = "        self.sink.append(SLOW, SLOW.table(columns))"
OTHER = """        other = SLOW.__class__("other", "a layer", SLOW.columns)
        self.sink.append(other, other.table(columns))"""
SHARE = '"slow_share": [part / whole for'
CHANCE = "__import__('random').random()"
NAME = 'headings={"slow_share": "slow"}'
STEPS = "    steps: int = option(100, "
REFUSE = """    from spectrakit.errors import AnalysisError
    raise AnalysisError("no")
"""
OVERWRITE = """    def __post_init__(self):
        import sys
        if "analyze" in sys.argv:
            object.__setattr__(self, "steps", 7)

"""

#: Subject and check, the file of the mistake, what is right there and what is wrong.
MUTANTS = {
    "a sight without its method": (
        WEIGHTS, "has_what_it_sees", "__init__.py", '{"recurrences"}', '{"recurrences", "reruns"}',
    ),
    "a method that is never called": (
        WEIGHTS, "has_what_it_sees", "analysis.py", "    def finish(",
        "    see_prompts = see\n\n    def finish(",
    ),
    "a declaration that imports what computes": (
        WEIGHTS, "is_declared_without_torch", "options.py", "from typing import ClassVar",
        "from typing import ClassVar\n\nimport torch",
    ),
    "an option that nobody understands": (
        WEIGHTS, "options_are_explained", "options.py", "is at least this are slow.", "",
    ),
    "an option that is no option": (
        WEIGHTS, "options_are_explained", "options.py", "at_least=1)", "at_least=100, at_most=100)",
    ),
    "an option that is not recorded": (
        WEIGHTS, "options_are_recorded", "options.py", STEPS,
        f"    def record(self):\n        return {{}}\n\n{STEPS}",
    ),
    "a record that is not read back": (
        WEIGHTS, "options_survive_json", "options.py", STEPS,
        f'    def record(self):\n        return {{"steps": self.steps + 1}}\n\n{STEPS}',
    ),
    "a table that is not declared": (
        WEIGHTS, "tables_are_as_declared", "analysis.py", RUNS, f"{RUNS}\n{OTHER}",
    ),
    "a column without a meaning": (
        TOKENS, "tables_are_as_declared", "tables.py", "static, nominal or data.", " ",
    ),
    "chance": (
        TOKENS, "is_deterministic", "analysis.py", SHARE,
        SHARE.replace("part /", f"{CHANCE} * part /"),
    ),
    "a view that shows nothing": (
        TOKENS, "shows_itself_in_the_terminal", "view.py",
        '[layer_table(["slow"], rows), Text(legend, style="dim")]', "[]",
    ),
    "a view that is a text": (
        WEIGHTS, "shows_itself_in_the_terminal", "view.py",
        '[layer_table(["slow"], rows), Text(legend, style="dim")]', "legend",
    ),
    "a chart that is not drawn": (
        WEIGHTS, "draws_its_charts", "chart.py", "    rows = ",
        f"{REFUSE}    rows = ",
    ),
    "a chart of another's table": (
        WEIGHTS, "draws_its_charts", "__init__.py", "needs=(SLOW.name,)", 'needs=("spectrum",)',
    ),
    "a column of a number that there is not": (
        WEIGHTS, "compares_runs", "compared.py", NAME, NAME.replace("slow_share", "slow"),
    ),
    "two numbers of one name": (
        TOKENS, "compares_runs", "compared.py", "    yield ",
        '    yield "slow_share", Number(0, 0)\n    yield ',
    ),
    "a condition that nobody understands": (
        TOKENS, "compares_runs", "compared.py", 'unlike = {"other-steps"', 'unlike = {"steps"',
    ),
    "a run that differs from itself": (
        WEIGHTS, "compares_runs", "compared.py", "Number(row[", f"Number({CHANCE} + row[",
    ),
    "an option that the command line has otherwise": (
        WEIGHTS, "runs_from_the_command_line", "options.py", STEPS,
        f"{OVERWRITE}{STEPS}",
    ),
}  # fmt: skip


def outcome(found, subject, name):
    (check,) = [check for check in checks(found) if (check.subject, check.name) == (subject, name)]
    (result,) = run_checks([check])
    return result


@pytest.mark.parametrize("mutant", MUTANTS)
def test_is_caught(mutant, examples):
    subject, name, file, right, wrong = MUTANTS[mutant]
    result = outcome(examples({f"slow/{file}": (right, wrong)}), subject, name)
    assert result.outcome == "failed"
    assert "Error:" not in result.reason, "it fails for what it found, not because it broke"


def test_every_check_is_tested():
    assert {name for _, name, *_ in MUTANTS.values()} == {c.__name__ for c in ANALYSIS_CHECKS}
