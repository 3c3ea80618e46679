"""The plugin manager: finds plugins, keeps a broken one from breaking anything else.

Every plugin is loaded by itself, each of its hooks is called by itself, and what it registers is
taken over only when all of them succeeded. Whatever goes wrong (an import that fails or calls
`sys.exit`, a hook that raises, a name that is taken) becomes that plugin's `error`, which
`spectrakit plugins list` shows; nothing else is affected.

`SPECTRAKIT_LOAD_PLUGINS=name,name` loads only these entry points (empty: none), and
`SPECTRAKIT_TRACE_PLUGINS=1` says on stderr what each of them is asked for and how long that takes.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from spectrakit import hookspecs
from spectrakit._version import __version__
from spectrakit.analysis_registry import AnalysisRegistry
from spectrakit.errors import UsageError, scrub
from spectrakit.plain import plain
from spectrakit.plugin_commands import only_added_to
from spectrakit.registry import PluginInfo, Registry
from spectrakit.training.models import builders

if TYPE_CHECKING:
    import typer

    from spectrakit.analyses.kind import AnalysisKind
    from spectrakit.architectures import Architecture
    from spectrakit.mixers import Mixer
    from spectrakit.options import Options
    from spectrakit.prompt_sets import PromptSet
    from spectrakit.testing.examples import Example
    from spectrakit.training.data.base import Task

GROUP = "spectrakit"
_HOST = "spectrakit"


class Plugins:
    """All plugins and what they provide."""

    def __init__(self, points: Iterable[EntryPoint]) -> None:
        self.architectures: Registry[Architecture] = Registry(
            "architecture", ("claims", "layers", "load")
        )
        self.mixers: Registry[type[Mixer]] = Registry(
            "mixer", ("operator", "weights_mode", "weights_roles", "head_axis", "from_weights")
        )
        self.analyses = AnalysisRegistry()
        self.prompt_sets: Registry[type[PromptSet]] = Registry("prompt set", ("prompts",))
        self.tasks: Registry[type[Task]] = Registry("task", ("summary", "options", "open"))
        self.plugins: list[PluginInfo] = []
        self._manager = pluggy.PluginManager(_HOST)
        self._manager.add_hookspecs(hookspecs)
        self._modules: list[tuple[PluginInfo, object]] = []
        #: What a hook of a plugin has handed in, so that none is asked twice.
        self._handed_in: dict[tuple[int, str], list[tuple[Registry[Any], str, Any]]] = {}
        for point in points:
            self._import(point)
        self._registered = False
        self._host = PluginInfo("builtin", _HOST, __version__)

    def add_commands(self, app: typer.Typer) -> None:
        """Let every plugin add its commands to the command line; none may touch another's."""
        for info, module in list(self._modules):
            with self._guarded(info), only_added_to(app):
                self._call(module, "register_commands", app)

    def register(self) -> Plugins:
        """Let spectrakit itself and every plugin register what they provide; once."""
        if not self._registered:
            self._registered = True
            self.analyses.things = {}
            for info, module in self._with_host():
                with self._guarded(info):
                    self._register(info, module)
            for name, registered in self.mixers.things.items():
                if hasattr(registered.held, "build"):  # it can be trained
                    with self._guarded(registered.origin):
                        builders.add(builders.of_plugin(name, registered.held))
        return self

    def analysis_kinds(self) -> Registry[AnalysisKind]:
        """The analyses alone: the command line needs their options, and no architecture."""
        if not self._registered and not self.analyses.things:
            for info, module in self._with_host():
                with self._guarded(info):
                    self._take(info, module, {"register_analyses": self.analyses})
        return self.analyses

    def option_groups(self) -> dict[str, type[Options]]:
        """The groups of options of all analyses, by name, each once."""
        kinds = self.analysis_kinds()
        return {group.group: group for name in kinds.things for group in kinds[name].options}

    def _with_host(self) -> list[tuple[PluginInfo, object]]:
        """Every plugin with its module, spectrakit itself first."""
        from spectrakit import builtin

        if self._host not in self.plugins:
            self._manager.register(builtin, name="builtin")
            self.plugins.insert(0, self._host)
        return [(self._host, builtin), *self._modules]

    def named(self, name: str) -> list[PluginInfo]:
        """The plugins of a distribution, or the one of an entry point, called `name`.

        Raises UsageError where there is none.
        """
        found = [
            info
            for info in self.plugins
            if info.name == name or _normalized(info.distribution) == _normalized(name)
        ]
        if not found:
            names = ", ".join(dict.fromkeys(info.distribution for info in self.plugins))
            message = f"unknown plugin {name!r}; one of: {names}"
            raise UsageError(message, hint="spectrakit plugins list")
        return found

    def distribution_of(self, error: BaseException) -> str | None:
        """That of the plugin whose code `error` came from or through last; None if of none."""
        packages = {
            getattr(module, "__name__", "").partition(".")[0]: info.distribution
            for info, module in self._modules
        }
        found = None
        for frame, _ in traceback.walk_tb(error.__traceback__):
            package = frame.f_globals.get("__name__", "").partition(".")[0]
            found = packages.get(package, found)
        return found

    def examples(self, info: PluginInfo) -> tuple[Example, ...]:
        """What the plugin wants to be checked on; none, and an `error`, where asking it fails."""
        registry: Registry[Example] = Registry("example", ("expected_failures",))
        for found, module in list(self._modules):
            if found is info:
                with self._guarded(info):
                    self._take(info, module, {"register_examples": registry})
        if info.error is not None:
            return ()
        return tuple(registered.thing for registered in registry.things.values())

    def _import(self, point: EntryPoint) -> None:
        info = PluginInfo(point.name, "?", "?")
        self.plugins.append(info)
        with self._guarded(info):
            if point.dist is not None:
                info.distribution, info.version = point.dist.name, point.dist.version
            distribution = info.distribution
            with _traced(f"{distribution}:{point.name}", "import"):
                module = point.load()
            wanted = getattr(module, "SPEC_VERSION", hookspecs.SPEC_VERSION)
            if wanted != hookspecs.SPEC_VERSION:
                message = (
                    f"it was written for SPEC_VERSION {wanted}, "
                    f"this is spectrakit {__version__} with SPEC_VERSION {hookspecs.SPEC_VERSION}"
                )
                raise ValueError(message)
            self._manager.register(module, name=f"{distribution}:{point.name}")
            # A misspelt hook would otherwise be ignored in silence.
            unknown = [n for n in vars(module) if n.startswith("register_") and not _is_hook(n)]
            if any(hasattr(getattr(module, name), "spectrakit_impl") for name in unknown):
                message = f"it implements hooks that do not exist: {', '.join(unknown)}"
                raise ValueError(message)
            info.hooks = tuple(name for name in _HOOKS if hasattr(module, name))
            self._modules.append((info, module))

    def _register(self, info: PluginInfo, module: object) -> None:
        hooks: Mapping[str, Registry[Any]] = {
            "register_architectures": self.architectures,
            "register_mixers": self.mixers,
            "register_analyses": self.analyses,
            "register_prompt_sets": self.prompt_sets,
            "register_tasks": self.tasks,
        }
        info.provides = self._take(info, module, hooks)
        info.hooks = tuple(name for name in _HOOKS if hasattr(module, name))

    def _take(
        self, info: PluginInfo, module: object, hooks: Mapping[str, Registry[Any]]
    ) -> tuple[str, ...]:
        """Call these hooks of a plugin and take in what it registers, all of it or nothing."""
        staged: list[tuple[Registry[Any], str, Any]] = []
        for hook, registry in hooks.items():
            asked = (id(info), hook)
            if asked not in self._handed_in:
                handed_in: list[tuple[Registry[Any], str, Any]] = []
                self._call(module, hook, _stage(handed_in, registry))
                self._handed_in[asked] = handed_in
            staged += self._handed_in[asked]
        before = [(registry, dict(registry.things)) for registry in hooks.values()]
        try:
            for registry, name, thing in staged:
                registry.add(name, thing, info)
        except BaseException:
            for registry, things in before:
                registry.things = things
            raise
        return tuple(f"{registry.kind} {name}" for registry, name, _ in staged)

    def _call(self, module: object, hook: str, argument: object) -> None:
        if not hasattr(module, hook):
            return
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not module]
        caller = self._manager.subset_hook_caller(hook, others)
        parameter = "app" if hook == "register_commands" else "register"
        with _traced(self._manager.get_name(module), hook):
            caller(**{parameter: argument})

    @contextlib.contextmanager
    def _guarded(self, info: PluginInfo) -> Iterator[None]:
        """Turn whatever a plugin does wrong into its `error`, and its prints into stderr."""
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  (a plugin may even call sys.exit)
            info.error = " ".join(scrub(f"{type(error).__name__}: {error}").split())
            self._modules = [pair for pair in self._modules if pair[0] is not info]


def _stage(
    staged: list[tuple[Registry[Any], str, Any]], registry: Registry[Any]
) -> Callable[[Any], None]:
    def register(thing: Any) -> None:  # noqa: ANN401
        staged.append((registry, registry.check(thing), thing))

    return register


@contextlib.contextmanager
def _traced(plugin: str | None, what: str) -> Iterator[None]:
    """Say what a plugin is asked for and how long it takes, where the user wants to know."""
    if not os.environ.get("SPECTRAKIT_TRACE_PLUGINS"):
        yield
        return
    started = time.perf_counter()
    try:
        yield
    finally:
        milliseconds = 1000 * (time.perf_counter() - started)
        sys.stderr.write(plain(f"plugin {plugin}: {what}, {milliseconds:.1f} ms") + "\n")


def _normalized(distribution: str) -> str:
    """A distribution's name in the one spelling that all its spellings share."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


_HOOKS = (
    "register_architectures",
    "register_mixers",
    "register_analyses",
    "register_prompt_sets",
    "register_tasks",
    "register_examples",
    "register_commands",
)


def _is_hook(name: str) -> bool:
    return name in _HOOKS


@cache
def installed_points() -> tuple[EntryPoint, ...]:
    """Those of the plugins that are installed, as they were when this was first asked."""
    return tuple(sorted(entry_points(group=GROUP), key=lambda point: point.name))


@cache
def plugins() -> Plugins:
    """The plugins of this process, imported once; call `register()` for what they provide."""
    wanted = os.environ.get("SPECTRAKIT_LOAD_PLUGINS")
    points: Iterable[EntryPoint] = installed_points()
    if wanted is not None:
        names = {name.strip() for name in wanted.split(",")}
        points = [point for point in points if point.name in names]
    return Plugins(points)
