"""Messages call a setting by its flag on the command line, and by its keyword in Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import spectrakit as sk
from spectrakit.cli.app import build_app
from spectrakit.errors import SpectrakitError, UsageError
from spectrakit.token_options import TokenOptions
from spectrakit.wording import given, inspecting, named, per_door, speaking_flags

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for path in (*ROOT.glob("spectrakit/**/*.py"), *ROOT.glob("plugins/*/spectrakit_*/**/*.py"))
    if path.relative_to(ROOT).parts[:2] != ("spectrakit", "cli")
    and path.name != "analysis_checks.py"  # which types commands
)
_FLAG = re.compile(r"(?<![\w-])--[a-z]")
#: A command that can be typed as it stands may have flags.
_COMMAND = re.compile(r"\b(spectrakit \w+|pip install|hf \w+|python (-m )?[\w./]+)\b.*?--[a-z]")
#: Calls whose texts are not messages: help that the command line shows, columns of tables, the two
#: spellings themselves, patterns.
_NO_MESSAGES = {"option", "add_argument", "Column", "token_set_column", "per_door", "compile"}
#: Texts of messages that are written into tables, which say the same whoever asks.
_STORED = {"A needs tokens: --mode data"}


def test_no_flag_is_written_by_hand():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    found = {str(path): texts for path, tree in trees.items() if (texts := [*_flags(tree)])}
    assert not found, "say them by `spectrakit.wording.named` or `given`"


def test_a_flag_by_hand_is_found():
    for source, count in (
        ("raise UsageError(message, hint='a smaller --batch-size')", 1),
        ("hint = f'{x}, or --mode data'", 1),
        ("def f():\n    'What `--mode data` does.'", 0),
        ("hint = f'spectrakit inspect {x} --check-values'", 0),
        ("hint = per_door('--n 64', 'size=64')", 0),
        ("hint = given(mode='data')", 0),
    ):
        assert len(list(_flags(ast.parse(source)))) == count, source


def _flags(tree):
    """The texts in `tree` that have a flag and are neither docstrings nor commands."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):  # a docstring
            skipped |= {id(node.value)}
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in _NO_MESSAGES:
                skipped |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X"
                           for part in node.values)  # fmt: skip
            of_one = {id(part) for part in node.values}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text, of_one = node.value, set()
        else:
            continue
        if id(node) in skipped or text in _STORED:
            continue
        skipped |= of_one
        if _FLAG.search(text) and not _COMMAND.search(text):
            yield text


# ---- the same mistake, made at both doors -------------------------------------------------------

MISTAKES = {
    "a value that is none": (
        {"mode": "data", "batch_size": 0},
        "{} must be at least 1, not 0",
        ("--batch-size", "batch_size"),
    ),
    "settings that mean nothing together": (
        {"mode": "data", "seq_len": 1, "bos": True},
        "try: {}",
        ("--seq-len 512", "seq_len=512"),
    ),
    "a setting of another mode": (
        {"mode": "weights", "dtype": "bfloat16"},
        "{} is for data mode",
        ("--dtype", "dtype"),
    ),
    "a mode without what an analysis looks at": (
        {"mode": "weights", "analyses": "propagation"},
        "try: {}",
        ("--mode data", "mode='data'"),
    ),
    "an option of an analysis that is not run": (
        {"horizon": 64},
        "try: {}",
        ("--analyses memory", "analyses=['memory']"),
    ),
    "a device that there is not": (
        {"mode": "data", "device": "nowhere"},
        "try: {}",
        ("--device cpu", "device='cpu'"),
    ),
    "too little memory": (
        {"mode": "data", "analyses": "similarity", "similarity_memory": 1e-6},
        "try: a larger {}",
        ("--similarity-memory", "similarity_memory"),
    ),
    "a text of one token": (
        {"mode": "data", "seq_len": 1},
        "or a larger {}",
        ("--max-tokens or --seq-len", "max_tokens or seq_len"),
    ),
    "a drive that weights do not show": (
        {"mode": "weights", "analyses": "empirical_memory", "drive": "blocks"},
        "try: {}",
        ("--drive mixers, or --mode data", "drive='mixers', or mode='data'"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_the_words_it_was_made_in(
    mistake, tiny_mamba_folder, tmp_path, monkeypatch
):
    settings, message, (flag, keyword) = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    words = ["analyze", str(tiny_mamba_folder)]
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    said = CliRunner().invoke(build_app(), words).stderr
    assert message.format(flag) in said
    # A command that ran in this process leaves no trace in what Python is told.
    with pytest.raises(SpectrakitError) as caught:
        sk.analyze(str(tiny_mamba_folder), **settings)
    assert message.format(keyword) in str(caught.value)
    assert "--" not in str(caught.value)


# ---- the words themselves -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "flags", "keywords"),
    [
        ({"seq_len": 512}, "--seq-len 512", "seq_len=512"),
        ({"compat": "x", "mode": "data"}, "--compat x --mode data", "compat='x', mode='data'"),
        ({"analyses": ("a", "b")}, "--analyses a,b", "analyses=['a', 'b']"),
        ({"text": "FILE"}, "--text FILE", "text=FILE"),
        ({"offline": True}, "--offline", "offline=True"),
        ({"out": Path("my runs/x")}, "--out 'my runs/x'", "out='my runs/x'"),
        (
            {"config": {"disc": "zoh", "bias": True, "l_max": "LENGTH"}},
            "--config disc=zoh --config bias=true --config l_max=LENGTH",
            "config={'disc': 'zoh', 'bias': True, 'l_max': LENGTH}",
        ),
    ],
)
def test_settings_are_written_as_they_are_given(settings, flags, keywords):
    assert given(**settings) == keywords
    with speaking_flags():
        assert given(**settings) == flags


def test_words_of_the_door_that_was_taken():
    assert (named("seq_len"), per_door("--n 64", "size=64")) == ("seq_len", "size=64")
    with speaking_flags():
        assert (named("seq_len"), per_door("--n 64", "size=64")) == ("--seq-len", "--n 64")
        with speaking_flags():
            pass
        assert named("seq_len") == "--seq-len"
    assert named("seq_len") == "seq_len"


def test_an_error_ends_the_talk_of_flags():
    with pytest.raises(UsageError, match="--seq-len"), speaking_flags():
        TokenOptions(seq_len=0)
    with pytest.raises(UsageError, match="^seq_len"):
        TokenOptions(seq_len=0)


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("spectrakit inspect model", "spectrakit inspect 'my runs/x.pt' --key ema"),
        (
            "spectrakit inspect model --check-values",
            "spectrakit inspect 'my runs/x.pt' --key ema --check-values",
        ),
        ("spectrakit inspect 'a --key b' --key b", "spectrakit inspect 'my runs/x.pt' --key ema"),
        ("another copy of it", "another copy of it"),
        (None, None),
    ],
)
def test_a_hint_to_inspect_names_what_was_typed(hint, expected):
    with pytest.raises(UsageError) as caught, inspecting("my runs/x.pt", key="ema", revision=None):
        raise UsageError("wrong", hint=hint)
    assert caught.value.hint == expected
