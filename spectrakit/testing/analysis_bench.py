"""An analysis that is being checked: run once on its example, looked at by every check."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import spectrakit as sk
from spectrakit.options import Options, Setting, settings
from spectrakit.plugins import plugins
from spectrakit.spec_files import with_keywords

if TYPE_CHECKING:
    from spectrakit.analyses.kind import AnalysisKind
    from spectrakit.registry import PluginInfo
    from spectrakit.testing.examples import AnalysisExample


class AnalysisBench:
    """One example.

    What it writes is gone when it is.
    """

    def __init__(self, example: AnalysisExample) -> None:
        self.example = example
        self._scratch = Path(tempfile.mkdtemp(prefix="spectrakit-check-"))
        weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)

    def folder(self) -> Path:
        """A new empty folder."""
        return Path(tempfile.mkdtemp(dir=self._scratch))

    @property
    def kind(self) -> AnalysisKind:
        """How the analysis is declared."""
        return plugins().register().analyses[self.example.analysis]

    @property
    def plugin(self) -> PluginInfo:
        """The plugin that it is of."""
        return plugins().register().analyses.things[self.example.analysis].origin

    @cached_property
    def model(self) -> str:
        """What is opened: a name, or the path of what the example writes."""
        model = self.example.model
        return model if isinstance(model, str) else str(model(self.folder()))

    @cached_property
    def spec(self) -> sk.RunSpec:
        """What the example asks for, with every option of the analysis said."""
        asked = {"analyses": (self.example.analysis,), **self.example.settings}
        spec = with_keywords(sk.RunSpec(model=self.model), asked)
        groups = tuple(spec.options_of(group) for group in self.kind.options)
        return replace(spec, options=groups)

    @property
    def options(self) -> Iterator[tuple[Options, Setting]]:
        """Every option of the analysis, with the group that has its value."""
        for group in self.spec.options:
            for setting in settings(type(group)):
                yield group, setting

    @cached_property
    def run(self) -> sk.Run:
        """The example's run, in memory."""
        return sk.analyze(self.spec)
