"""docs/plugins.md: every hook with its arguments, every member of the protocols.

That the plugin it shows works is checked by test_pages.py, which installs and runs it.
"""

from __future__ import annotations

import inspect
import re
from typing import get_args

import pytest

from docs.refresh import ROOT, blocks
from spectrakit import hookspecs
from spectrakit.analyses.base import (
    Analysis,
    PromptAnalysis,
    RecurrenceAnalysis,
    RerunAnalysis,
    StatesAnalysis,
)
from spectrakit.analyses.kind import (
    AnalysisKind,
    Chart,
    Compared,
    ComparedColumns,
    ComparisonChart,
    InAll,
    InGauges,
    Sight,
)
from spectrakit.architectures import Architecture, RunnableModel
from spectrakit.architectures.base import LanguageModel
from spectrakit.mixers import Mixer
from spectrakit.options import Help, option
from spectrakit.prompt_sets import Prompt, PromptSet
from spectrakit.testing import AnalysisExample, CheckpointExample, MixerExample
from spectrakit.testing.analysis_checks import ANALYSIS_CHECKS
from spectrakit.testing.forward_checks import FORWARD_CHECKS
from spectrakit.testing.header_checks import HEADER_CHECKS
from spectrakit.testing.mixer_checks import MIXER_CHECKS

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
HOOKS = {
    name: thing for name, thing in vars(hookspecs).items() if hasattr(thing, "spectrakit_spec")
}


@pytest.mark.parametrize("hook", HOOKS)
def test_documents_the_hook_with_its_arguments(hook):
    arguments = ", ".join(inspect.signature(HOOKS[hook]).parameters)
    assert f"\n### `{hook}({arguments})`\n" in PAGE


def test_documents_no_hook_that_there_is_not():
    assert set(re.findall(r"^### `(\w+)\(", PAGE, flags=re.MULTILINE)) == HOOKS.keys()


def members(protocol):
    own = {name for name in vars(protocol) if not name.startswith("_")}
    return own | protocol.__annotations__.keys()


@pytest.mark.parametrize(
    "protocol",
    [Architecture, RunnableModel, LanguageModel, Mixer, PromptSet, Analysis, RecurrenceAnalysis,
     StatesAnalysis, RerunAnalysis, PromptAnalysis],
)  # fmt: skip
def test_documents_every_member_of_the_protocol(protocol):
    assert members(protocol)
    assert not [name for name in members(protocol) if not re.search(rf"`{name}\b", PAGE)]


@pytest.mark.parametrize(
    "check", [*MIXER_CHECKS, *HEADER_CHECKS, *FORWARD_CHECKS, *ANALYSIS_CHECKS]
)
def test_says_what_the_check_asks(check):
    assert f"| `{check.__name__}` | {inspect.getdoc(check)} |\n" in PAGE


@pytest.mark.parametrize(
    "thing",
    [MixerExample, CheckpointExample, AnalysisExample, Prompt, AnalysisKind, Chart, ComparisonChart,
     Compared, ComparedColumns, Help],
)  # fmt: skip
def test_says_what_it_holds(thing):
    assert not [name for name in thing.__annotations__ if not re.search(rf"`{name}\b", PAGE)]


def test_says_what_an_option_is_declared_with():
    arguments = inspect.signature(option).parameters
    assert not [name for name in arguments if not re.search(rf"`{name}\b", PAGE)]


@pytest.mark.parametrize("words", [Sight, InAll, InGauges])
def test_says_which_words_there_are(words):
    assert not [word for word in get_args(words) if f'`"{word}"`' not in PAGE]


def test_states_the_version_of_the_hooks():
    assert f"`SPEC_VERSION = {hookspecs.SPEC_VERSION}`" in PAGE


def test_its_plugin_uses_every_hook_that_registers_something():
    code = "".join(block.body for block in blocks(PAGE) if block.language == "python")
    assert re.findall(r"^def (register_\w+)", code, flags=re.MULTILINE) == [
        "register_mixers",
        "register_architectures",
        "register_examples",
        "register_analyses",
        "register_examples",
        "register_prompt_sets",
    ]
