"""The plugin manager: what plugins provide, and what a bad one cannot do."""

from __future__ import annotations

import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

from spectrakit import builtin
from spectrakit.errors import UsageError
from spectrakit.plugins import Plugins


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
    (host,) = plugins.plugins
    assert host.distribution == "spectrakit"
    assert set(host.hooks) == {
        "register_architectures", "register_mixers", "register_analyses",
    }  # fmt: skip
    assert all(hasattr(builtin, hook) for hook in host.hooks)


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


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(UsageError, match="no analysis 'spectra'; there are spectrum"):
        Plugins([]).register().analyses["spectra"]


def test_the_environment_restricts_what_is_loaded(plugin, monkeypatch):
    from spectrakit import plugins as module

    points = [plugin("a", "A = 1"), plugin("b", "B = 1")]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    module.plugins.cache_clear()
    monkeypatch.setenv("SPECTRAKIT_LOAD_PLUGINS", "b")
    assert [found.name for found in module.plugins().plugins] == ["b"]
    module.plugins.cache_clear()
    monkeypatch.setenv("SPECTRAKIT_LOAD_PLUGINS", "")
    assert module.plugins().plugins == []
    module.plugins.cache_clear()
