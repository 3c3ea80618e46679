"""The plugin manager: what plugins provide, and what a bad one cannot do."""

from __future__ import annotations

import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

from spectrakit import builtin
from spectrakit.errors import UsageError
from spectrakit.plugins import Plugins
from spectrakit.registry import Deferred


class Distribution:
    """Stands for the installed distribution of an entry point."""

    def __init__(self, name):
        self.name = name
        self.version = "1.2.3"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a plugin module and return its entry point, as an installed distribution has it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, code):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
        point = EntryPoint(name, name, "spectrakit")
        vars(point)["dist"] = Distribution(f"dist-{name}")
        return point

    yield write
    for name in list(sys.modules):
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


MIXER = """
    from spectrakit import hookimpl
    from spectrakit.mixers import Mamba

    class {cls}(Mamba):
        name = {name!r}

    @hookimpl
    def register_mixers(register):
        register({cls})
"""


def info(plugins, name):
    return next(found for found in plugins.plugins if found.name == name)


def test_builtins_are_registered_through_the_hooks():
    plugins = Plugins([]).register()
    assert {"transformers-mamba", "mamba-ssm"} < set(plugins.architectures.things)
    assert {"mamba", "softmax_attention"} < set(plugins.mixers.things)
    assert {"spectrum", "lyapunov", "kernel"} < set(plugins.analyses.things)
    assert {"kv-retrieval", "multi-doc-qa"} == set(plugins.prompt_sets.things)
    (host,) = plugins.plugins
    assert host.distribution == "spectrakit"
    assert set(host.hooks) == {
        "register_architectures", "register_mixers", "register_analyses", "register_prompt_sets",
        "register_tasks",
    }  # fmt: skip
    assert all(hasattr(builtin, hook) for hook in host.hooks)


def test_what_is_imported_later_is_what_its_name_says():
    registry = Plugins([]).register().prompt_sets
    for name, entry in registry.things.items():
        assert isinstance(entry.held, Deferred)
        assert registry.check(entry.thing) == name
        assert registry[name] is entry.thing


def test_a_plugin_adds_to_them(plugin):
    plugins = Plugins([plugin("good", MIXER.format(cls="Mine", name="mine"))]).register()
    assert plugins.mixers["mine"].name == "mine"
    found = info(plugins, "good")
    assert (found.distribution, found.version) == ("dist-good", "1.2.3")
    assert found.provides == ("mixer mine",)
    assert found.error is None


BROKEN = {
    "import_error": ("import nothing_of_that_name", "ModuleNotFoundError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "syntax": ("def (", "SyntaxError"),
    "hook_raises": (
        """
        from spectrakit import hookimpl
        from spectrakit.mixers import Mamba

        class Half(Mamba):
            name = "half"

        @hookimpl
        def register_mixers(register):
            register(Half)
            raise RuntimeError("half way")
        """,
        "RuntimeError: half way",
    ),
    "name_taken": (
        MIXER.format(cls="Again", name="mamba"),
        "'mamba' of dist-name_taken is already provided by spectrakit",
    ),
    "no_mixer": (
        """
        from spectrakit import hookimpl

        class NoMixer:
            name = "no"

        @hookimpl
        def register_mixers(register):
            register(NoMixer)
        """,
        "it lacks operator",
    ),
    "no_task": (
        """
        from spectrakit import hookimpl

        class NoTask:
            name = "no"

        @hookimpl
        def register_prompt_sets(register):
            register(NoTask)
        """,
        "is not a valid prompt set: it lacks prompts",
    ),
    "no_name": (
        """
        from spectrakit import hookimpl
        from spectrakit.mixers import Mamba

        class Nameless(Mamba):
            name = 7

        @hookimpl
        def register_mixers(register):
            register(Nameless)
        """,
        "has no name",
    ),
    "misspelt": (
        """
        from spectrakit import hookimpl

        @hookimpl
        def register_mixer(register):
            pass
        """,
        "hooks that do not exist: register_mixer",
    ),
    "other_spec": ("SPEC_VERSION = 99", "SPEC_VERSION 99"),
    "leaks": ("raise ValueError('token hf_abcdefghijklmnopqrstuvwx')", "ValueError: token hf_***"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_plugin_is_reported_and_nothing_else_is_affected(name, plugin):
    code, message = BROKEN[name]
    points = [plugin(name, code), plugin("good", MIXER.format(cls="Mine", name="mine"))]
    plugins = Plugins(points).register()
    assert message in info(plugins, name).error
    assert info(plugins, name).provides == ()
    assert info(plugins, "good").error is None
    assert set(plugins.mixers.things) == {*Plugins([]).register().mixers.things, "mine"}
    assert plugins.mixers.things["mamba"].origin.distribution == "spectrakit"


def test_a_taken_name_may_be_overridden_on_purpose(plugin):
    code = MIXER.format(cls="Better", name="mamba").replace(
        "name = 'mamba'", "name = 'mamba'; override = True"
    )
    plugins = Plugins([plugin("better", code)]).register()
    assert plugins.mixers.things["mamba"].origin.distribution == "dist-better"


def test_a_plugin_cannot_print_into_the_data(plugin, capsys):
    code = "print('at import')\n" + textwrap.dedent(MIXER.format(cls="Mine", name="mine"))
    code = code.replace("    register(Mine)", "    print('in a hook')\n    register(Mine)")
    Plugins([plugin("chatty", code)]).register()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "at import\nin a hook\n"


HOOKS = (
    "register_architectures", "register_mixers", "register_analyses", "register_prompt_sets",
    "register_tasks", "register_commands",
)  # fmt: skip


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("deed", ["raise RuntimeError('no')", "raise SystemExit(3)", "1 / 0"])
def test_a_hook_may_do_its_worst(hook, deed, plugin):
    import typer

    code = f"""
    from spectrakit import hookimpl

    @hookimpl
    def {hook}({"app" if hook == "register_commands" else "register"}):
        {deed}
    """
    plugins = Plugins([plugin("bad", code), plugin("good", MIXER.format(cls="Mine", name="mine"))])
    plugins.add_commands(typer.Typer())
    plugins.register()
    assert info(plugins, "bad").error is not None
    assert info(plugins, "good").provides == ("mixer mine",)


def test_what_fails_after_it_was_taken_in_is_taken_out_again(plugin):
    code = """
    from spectrakit import hookimpl
    from spectrakit.mixers import Mamba

    class Good(Mamba):
        name = "good"

    class Meta(type):
        @property
        def override(cls):
            raise SystemExit(4)

    class Mean(metaclass=Meta):
        name = "mamba"
        operator = weights_mode = weights_roles = head_axis = from_weights = None

    @hookimpl
    def register_mixers(register):
        register(Good)
        register(Mean)
    """
    plugins = Plugins([plugin("mean", code)]).register()
    assert info(plugins, "mean").error == "SystemExit: 4"
    assert plugins.mixers.things.keys() == Plugins([]).register().mixers.things.keys()
    assert plugins.mixers.things["mamba"].origin.distribution == "spectrakit"


def test_a_distribution_without_metadata_is_reported(plugin):
    class Bare:
        @property
        def name(self):
            raise KeyError("Name")

    point = plugin("bare", "")
    vars(point)["dist"] = Bare()
    assert info(Plugins([point]).register(), "bare").error == "KeyError: 'Name'"


def test_ctrl_c_is_not_a_plugin_error(plugin):
    with pytest.raises(KeyboardInterrupt):
        Plugins([plugin("interrupted", "raise KeyboardInterrupt")])


def test_commands_are_added(plugin):
    import typer
    from typer.testing import CliRunner

    app = typer.Typer()
    app.command("one")(lambda: None)
    code = """
    from spectrakit import hookimpl

    @hookimpl
    def register_commands(app):
        @app.command()
        def hello():
            print("hello")
    """
    bad = """
    from spectrakit import hookimpl

    @hookimpl
    def register_commands(app):
        app.command("half")(print)
        raise RuntimeError("no")
    """
    plugins = Plugins([plugin("bad", bad), plugin("polite", code)])
    plugins.add_commands(app)
    assert CliRunner().invoke(app, ["hello"]).output == "hello\n"
    assert info(plugins, "bad").error == "RuntimeError: no"
    assert [command.name for command in app.registered_commands] == ["one", None]


TAKES_COMMANDS = {
    "a taken name": ('app.command("one")(print)', "the command one is already there"),
    "a function of that name": ("def one(): ...\n    app.command()(one)", "command one is already"),
    "a group of that name": (
        'import typer; app.add_typer(typer.Typer(), name="one")', "command one is already there",
    ),
    "a clean slate": ("app.registered_commands.clear()", "changes what others have registered"),
    "another callback": ("app.callback()(print)", "changes what others have registered"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKES_COMMANDS)
def test_commands_of_others_are_left_alone(name, plugin):
    import typer

    deed, message = TAKES_COMMANDS[name]
    code = f"""
from spectrakit import hookimpl

@hookimpl
def register_commands(app):
    {deed}
"""
    app = typer.Typer()
    app.command("one")(lambda: None)
    before = list(app.registered_commands), app.registered_callback
    plugins = Plugins([plugin("greedy", code)])
    plugins.add_commands(app)
    assert message in info(plugins, "greedy").error
    assert (app.registered_commands, app.registered_callback) == before
    assert app.registered_groups == []


def test_the_trace_says_who_is_asked_for_what(plugin, monkeypatch, capsys):
    monkeypatch.setenv("SPECTRAKIT_TRACE_PLUGINS", "1")
    Plugins([plugin("good", MIXER.format(cls="Mine", name="mine"))]).register()
    said = capsys.readouterr()
    lines = [line.rpartition(",")[0] for line in said.err.splitlines()]
    assert lines == [
        "plugin dist-good:good: import",
        "plugin builtin: register_architectures",
        "plugin builtin: register_mixers",
        "plugin builtin: register_analyses",
        "plugin builtin: register_prompt_sets",
        "plugin builtin: register_tasks",
        "plugin dist-good:good: register_mixers",
    ]
    assert said.out == ""


EXAMPLES = """
    from spectrakit import hookimpl

    class Example:
        expected_failures = {{}}
        def __init__(self, name):
            self.name = name

    @hookimpl
    def register_examples(register):
        print("one moment")
        for name in {names!r}:
            register(Example(name))
"""


def test_examples_are_asked_for_when_they_are_needed(plugin, capsys):
    plugins = Plugins([plugin("shown", EXAMPLES.format(names=["a", "b"]))]).register()
    assert "one moment" not in capsys.readouterr().err
    (found,) = plugins.named("dist_Shown")
    assert found is plugins.named("shown")[0]
    assert found.hooks == ("register_examples",)
    assert [example.name for example in plugins.examples(found)] == ["a", "b"]
    assert capsys.readouterr() == ("", "one moment\n")


def test_examples_have_names_of_their_own(plugin):
    plugins = Plugins([plugin("twice", EXAMPLES.format(names=["a", "a"]))]).register()
    (found,) = plugins.named("twice")
    assert plugins.examples(found) == ()
    assert "example 'a' of dist-twice is already provided by dist-twice" in found.error


def test_an_error_belongs_to_the_plugin_it_came_through_last(plugin):
    point = plugin("careless", "def finish():\n    return 1 / 0")
    plugins = Plugins([point]).register()
    for raising, owner in ((point.load().finish, "dist-careless"), (lambda: 1 / 0, None)):
        with pytest.raises(ZeroDivisionError) as caught:
            raising()
        assert plugins.distribution_of(caught.value) == owner


def test_an_unknown_plugin_says_what_there_is(plugin):
    with pytest.raises(UsageError, match="unknown plugin 'x'; one of: spectrakit, dist-good"):
        Plugins([plugin("good", "")]).register().named("x")


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(UsageError, match="unknown analysis 'spectra'; one of: spectrum"):
        Plugins([]).register().analyses["spectra"]


def test_the_environment_restricts_what_is_loaded(plugin, monkeypatch):
    from spectrakit import plugins as module

    points = (plugin("a", "A = 1"), plugin("b", "B = 1"))
    monkeypatch.setattr(module, "installed_points", lambda: points)
    module.plugins.cache_clear()
    monkeypatch.setenv("SPECTRAKIT_LOAD_PLUGINS", "b")
    assert [found.name for found in module.plugins().plugins] == ["b"]
    module.plugins.cache_clear()
    monkeypatch.setenv("SPECTRAKIT_LOAD_PLUGINS", "")
    assert module.plugins().plugins == []
    module.plugins.cache_clear()
