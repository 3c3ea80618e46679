"""What an analysis is declared as: one object that points to everything that belongs to it.

A folder `analyses/NAME/` has the class that computes, its options, its tables, and how they are
shown and compared; `__init__` has the `AnalysisKind`, which imports none of it but the options and
the tables. A plugin's analysis is declared in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa
    from altair import TopLevelMixin
    from rich.console import RenderableType

    from spectrakit.analyses.base import Analysis, Request
    from spectrakit.options import Options
    from spectrakit.tables import Run, Sink
    from spectrakit.tables.columns import TableSchema
    from spectrakit.tables.summary_numbers import SummaryTable

#: What of a model an analysis is shown: recurrences (`see`), hidden states (`see_states`), the same
#: batch run again (`see_rerun`), prompts of its own (`see_prompts`).
Sight: TypeAlias = Literal["recurrences", "states", "reruns", "prompts"]

#: In which gauges an analysis is shown a layer, where none is asked for: the one it was read in;
#: the usual one, in which layers are compared (`retained` for attention); each that is written, one
#: after another. Where one is asked for, in that one.
InGauges: TypeAlias = Literal["own", "usual", "every"]

#: Whether `--analyses all` has an analysis: wherever it has something to see, only where there are
#: tokens too, or only where it is named.
InAll: TypeAlias = Literal["always", "data mode", "never"]

#: What the terminal shows of a run: the parts below each other; none where there is nothing to say.
View: TypeAlias = "Callable[[Run], Sequence[RenderableType]]"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture of a run.

    name: of its files, unique in a run. table: what is drawn; a run without it has no such picture.
    draw: raises AnalysisError where the run has nothing to draw. needs: the tables that it reads
    besides `layers`. keeps: which pieces of these tables it reads, where a large one has others
    that the picture does not need; None for all.
    """

    name: str
    table: str
    draw: Callable[[Run], TopLevelMixin]
    needs: tuple[str, ...] = ()
    keeps: Callable[[str, pa.Table], bool] | None = None


@dataclass(frozen=True, kw_only=True)
class ComparisonChart:
    """A picture of several runs beside each other.

    name: of its files. draw: of the runs and of the tables of their comparison; None where these
    runs have nothing to draw.
    """

    name: str
    draw: Callable[[Sequence[Run], Run], TopLevelMixin | None]


@dataclass(frozen=True, kw_only=True)
class ComparedColumns:
    """Summaries of layers that a comparison shows as columns in the terminal, a line per layer.

    headings: by the metric in `summary_difference`; a column for each of the two runs. text: of a
    value. legend: what they are, in a line below.
    """

    headings: Mapping[str, str]
    text: Callable[[float], str]
    legend: str


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How the tables of two runs are compared.

    summaries: which of their numbers are subtracted. columns: those with a line for each layer in
    the terminal. view: what the terminal shows of two runs besides; it is given the comparison with
    the rows of these two alone. shown: the tables that `view` shows; of others that are in no
    columns either, the largest differences are listed. unlike: codes of conditions of the summaries
    that are not among spectrakit's (`UNLIKE`), with what they mean.
    """

    summaries: tuple[SummaryTable, ...]
    columns: tuple[ComparedColumns, ...] = ()
    view: View | None = None
    shown: tuple[str, ...] = ()
    unlike: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AnalysisKind:
    """An analysis: what it is called, looks at, may be told, writes, and how that is shown.

    name: unique among all plugins, as `--analyses` takes it. start: begins a run of it over one
    model; its class, as a rule. sees: what of the model it is shown; it has the methods of these
    (`spectrakit.analyses.base`). options: the groups of options that it follows; a group may be
    shared. tables: that it writes. in_all, in_gauges: see there. holds_states: whether it keeps the
    hidden states of a batch at all depths, which have to fit in memory then. view, charts,
    comparison: how its tables are shown, drawn and compared; `compared` is asked when runs are.
    override: replaces the analysis of this name that another plugin, or spectrakit, provides.
    """

    name: str
    start: Callable[[Sink, Request], Analysis]
    sees: frozenset[Sight]
    tables: tuple[TableSchema, ...]
    options: tuple[type[Options], ...] = ()
    in_all: InAll = "always"
    in_gauges: InGauges = "own"
    holds_states: bool = False
    view: View | None = None
    charts: tuple[Chart, ...] = ()
    compared: Callable[[], Compared] | None = None
    comparison_charts: tuple[ComparisonChart, ...] = ()
    override: bool = False

    @property
    def needs_forward(self) -> bool:
        """Whether it looks at no recurrence, but at what weights alone do not determine."""
        return "recurrences" not in self.sees

    def __repr__(self) -> str:
        return f"AnalysisKind({self.name!r})"
