"""The registry of analyses: what one of them declares, no other may have declared otherwise.

Options of all analyses are on one command line and in one spec file, their tables and pictures in
one run: two that are called alike would take each other's place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from spectrakit.analyses.declared import mistake_in
from spectrakit.analyses.kind import AnalysisKind
from spectrakit.options import settings
from spectrakit.registry import Registered, Registry
from spectrakit.spec import RunSpec
from spectrakit.tables.comparison_schemas import DECAY_DISTANCE, SUMMARY_DIFFERENCE
from spectrakit.tables.schemas import LAYERS
from spectrakit.token_options import TokenOptions

if TYPE_CHECKING:
    from spectrakit.registry import Deferred, PluginInfo

#: Names that the command line and the keywords of Python have for what is no option of a run.
RESERVED = frozenset(
    {"batch", "cache_dir", "command", "config", "context", "draw", "dry_run", "family", "figures",
     "filters", "full_download", "gated", "help", "jobs", "json", "max_size", "memory_limit",
     "model", "no_figures", "offline", "options", "out", "overwrite", "progress", "retries",
     "retry_failed", "root", "scheduler", "shard", "smallest", "source", "spec", "targets",
     "threads", "time_limit", "token", "verified"}
)  # fmt: skip
_HOST = "spectrakit"


@dataclass
class AnalysisRegistry(Registry[AnalysisKind]):
    """The analyses by name; see `Registry`."""

    kind: str = "analysis"
    requires: tuple[str, ...] = ()

    def check(self, thing: AnalysisKind | Deferred[AnalysisKind]) -> str:
        """The name of an analysis. Raises TypeError where its declaration is wrong."""
        if (mistake := mistake_in(thing)) is not None:
            raise TypeError(f"{thing!r}: {mistake}")
        return super().check(thing)

    def add(
        self, name: str, thing: AnalysisKind | Deferred[AnalysisKind], origin: PluginInfo
    ) -> None:
        """See `Registry.add`; what it declares must not be another's either."""
        taken = {each: (_HOST, of) for each, of in _of_spectrakit().items()}
        for other, registered in self.things.items():
            if other != name:  # which it replaces, or is refused for
                declared = _declared(registered.thing)
                taken |= {each: (registered.origin.distribution, of) for each, of in declared}
        for each, of in _declared(Registered(thing, origin).thing):
            owner, theirs = taken.setdefault(each, (origin.distribution, of))
            if theirs != of:
                message = (
                    f"analysis {name!r} of {origin.distribution} declares {each}, which {owner} "
                    "declares otherwise; call it something else"
                )
                raise ValueError(message)
        super().add(name, thing, origin)


def _declared(kind: AnalysisKind) -> Iterator[tuple[str, object]]:
    """What others may not declare otherwise, each with what it stands for."""
    for table in kind.tables:
        yield f"the table {table.name!r}", table
    for chart in kind.charts:
        yield f"the chart {chart.name!r}", chart
    for compared in kind.comparison_charts:
        yield f"the chart {compared.name!r} of comparisons", compared
    for group in kind.options:
        yield f"the options {group.group!r}", group
        yield from _option_names(group)


def _option_names(owner: type[object]) -> Iterator[tuple[str, object]]:
    for setting in settings(owner):
        yield f"the option {setting.keyword!r}", (owner, setting.name)
        if setting.type is bool and setting.rule.negated:
            yield f"the option {'no_' + setting.keyword!r}", (owner, setting.name)


@cache
def _of_spectrakit() -> dict[str, object]:
    """What every run has, whatever its analyses."""
    found: dict[str, object] = {f"the option {name!r}": None for name in RESERVED}
    found |= {"the options 'source'": None, "the chart 'comparison' of comparisons": None}
    found |= {f"the table {t.name!r}": t for t in (LAYERS, DECAY_DISTANCE, SUMMARY_DIFFERENCE)}
    for owner in (RunSpec, TokenOptions):
        found |= dict(_option_names(owner))
    return found
