"""The checks of a whole plugin: that it loads, that it has examples, and those of its examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from spectrakit._threads import one_thread
from spectrakit.errors import UsageError
from spectrakit.plugins import plugins
from spectrakit.testing.examples import AnalysisExample, CheckpointExample
from spectrakit.testing.suite import Result, checks, run_checks

if TYPE_CHECKING:
    from spectrakit.registry import PluginInfo, Registry
    from spectrakit.testing.examples import Example


def check_plugin(name: str) -> Iterator[Result]:
    """Every check of the plugins of the distribution, or of the entry point, called `name`.

    Raises UsageError where there is none.
    """
    infos = plugins().register().named(name)
    if any(info.name == "builtin" for info in infos):
        message = "what spectrakit itself provides is checked by its tests"
        raise UsageError(message, hint="name a plugin: spectrakit plugins list")
    for info in infos:
        yield from _check(info)


def _check(info: PluginInfo) -> Iterator[Result]:
    found = plugins().examples(info)
    yield _result(info.name, "loads", info.error)
    if info.error is not None:
        return
    for thing, has in _provided(info, found):
        missing = "register_examples gives no example of it"
        yield _result(thing, "has_an_example", None if has else missing)
    with one_thread():
        yield from run_checks(checks(found))


def _provided(info: PluginInfo, examples: Iterable[Example]) -> Iterator[tuple[str, bool]]:
    """Every architecture, mixer and analysis of a plugin, and whether any example shows it."""
    shown = set()
    for example in examples:
        if isinstance(example, CheckpointExample):
            shown.add(("architecture", example.architecture))
            shown.update(("mixer", kind) for kind in example.kinds)
        elif isinstance(example, AnalysisExample):
            shown.add(("analysis", example.analysis))
        else:
            shown.add(("mixer", example.mixer.name))
    registries: tuple[Registry[Any], ...] = (
        plugins().architectures,
        plugins().mixers,
        plugins().analyses,
    )
    for registry in registries:
        for name, registered in registry.things.items():
            if registered.origin is info:
                yield f"{registry.kind} {name}", (registry.kind, name) in shown


def _result(subject: str, check: str, problem: str | None) -> Result:
    return Result(subject, check, "failed" if problem else "passed", problem or "")
