"""List files: what they say, that all forms say the same, and what is no list."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit import MemoryOptions, PropagationOptions, analyze
from spectrakit.errors import MalformedError, SpectrakitError, UsageError
from spectrakit.spec import RunSpec
from spectrakit.token_options import TokenOptions
from spectrakit.zoo import list_text
from spectrakit.zoo.selection import select
from spectrakit.zoo.toml_lines import line_of
from tests.conftest import CHECKPOINTS

BASE = RunSpec(model="")


def listed(path, content, base=BASE):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return select([str(path)], base)


def specs(path, content, base=BASE):
    return [entry.spec for entry in listed(path, content, base)]


def models(path, content):
    return [spec.model for spec in specs(path, content)]


def refused(path, content, kind=UsageError):
    with pytest.raises(kind) as caught:
        listed(path, content)
    assert caught.value.message.startswith(str(path))
    return caught.value.message.removeprefix(str(path)), caught.value.hint


# --- plain text ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "tiny-mamba\norg/model\n",
        "tiny-mamba\norg/model",
        "\ufefftiny-mamba\r\norg/model\r\n",
        "# a zoo\n\n  tiny-mamba  # bundled\n\t\norg/model\t#x\n#end",
        "tiny-mamba\norg/model\ntiny-mamba\n",
    ],
)
@pytest.mark.parametrize("name", ["zoo.txt", "zoo", "zoo.list"])
def test_plain_text(tmp_path, content, name):
    assert models(tmp_path / name, content) == ["tiny-mamba", "org/model"]


def test_a_line_is_what_the_command_takes(tmp_path):
    shutil.copytree(CHECKPOINTS / "tiny-mamba", tmp_path / "zoo" / "a#1")
    text = "zoo\n./zoo/a#1\ntiny-mamba?\norg/model@v1\nhf://org/other"
    found = [(s.model, s.revision) for s in specs(tmp_path / "zoo.txt", text)]
    assert found == [
        (str(tmp_path / "zoo" / "a#1"), None),
        ("tiny-mamba2", None),
        ("org/model", "v1"),
        ("org/other", None),
    ]


def test_paths_begin_in_the_lists_folder(tmp_path, here, monkeypatch):
    folder = tmp_path / "lists"
    shutil.copytree(CHECKPOINTS / "tiny-mamba", folder / "own")
    shutil.copytree(CHECKPOINTS / "tiny-mamba", here / "mine")
    assert models(folder / "zoo.txt", "own\n../here/mine") == [
        str(folder / "own"),
        str(folder / "../here/mine"),
    ]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models(folder / "zoo.txt", "~/lists/own") == [str(folder / "own")]
    place, hint = refused(folder / "zoo.txt", "own\n./mine")
    assert place == ", line 2: there is no file or folder './mine'"
    assert str(folder) in hint


@given(
    before=st.lists(st.sampled_from(["", "# x", "tiny-mamba", "org/m", "*mamba2"]), max_size=30),
    bad=st.sampled_from(
        ["../x", "a/b/c", "tiny-mamb", "[red]x", "\x1b[31mx", "a\x07b", "x" * 9999]
    ),
)
def test_a_message_names_the_line(tmp_path_factory, before, bad):
    path = tmp_path_factory.mktemp("list") / "zoo.txt"
    message, _ = refused(path, "\n".join([*before, bad, "tiny-mamba"]))
    assert message.startswith(f", line {len(before) + 1}: ")
    assert message.isprintable()
    assert len(message) < 600


# --- CSV ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv(tmp_path, delimiter):
    rows = [
        ["Model", "revision", "name", "seq-len", "horizon", "bos", "analyses", "text", "gauge"],
        ["org/a", "v1", "first", "128", "", "TRUE", "", "corpus.txt", ""],
        [],
        ["org/b", "", "", "", "64", "no", '"spectrum, memory"', "-", "dsf"],
        ["org/c"],
    ]
    content = "\r\n".join(delimiter.join(row) for row in rows)
    base = replace(BASE, seed=5, source=TokenOptions(seq_len=32))
    a, b, c = listed(tmp_path / "zoo.csv", f"\ufeff{content}", base)
    text = str(tmp_path / "corpus.txt")
    assert a.spec == RunSpec(
        model="org/a", revision="v1", seed=5, source=TokenOptions(seq_len=128, bos=True, text=text)
    )
    assert b.spec == RunSpec(
        model="org/b",
        seed=5,
        gauge="dsf",
        analyses=("spectrum", "memory"),
        source=TokenOptions(seq_len=32, text="-"),
        options=(MemoryOptions(horizon=64),),
    )
    assert c.spec == replace(base, model="org/c")
    assert [e.name for e in (a, b, c)] == ["first", "org--b", "org--c"]


@pytest.mark.parametrize(
    ("content", "kind", "message", "hint"),
    [
        ("name,seq_len\na,1", UsageError, ", line 1: no column is called model", "model,seq_len"),
        ("modl\na", UsageError, ", line 1: no column is called model", "is 'modl' meant?"),
        ("model,seqlen\na,1", UsageError, ", line 1: unknown column 'seqlen'", "seq_len"),
        ("model,seed,SEED\n", UsageError, ", line 1: the column seed is there twice", None),
        ("model,seed\n\norg/a,x", UsageError, ", line 3: seed must be a whole number", None),
        ("model,seq_len\norg/a,0", UsageError, ", line 2: seq_len must be at least 1", None),
        ("model,mode\norg/a,wieghts", UsageError, ", line 2: unknown mode 'wieghts'", "weights"),
        ("model,horizon\norg/a,64", UsageError, ", line 2: horizon is for the analysis", "memory"),
        ("model,analyses\norg/a,memry", UsageError, ", line 2: unknown analysis 'memry'", "memory"),
        ("model,bos\norg/a,maybe", UsageError, ", line 2: bos must be true or false", None),
        ("model,seed\n,3", UsageError, ", line 2: the row names no model", None),
        ("model,seed\norg/a,3,4", UsageError, ", line 2: 3 cells, and 2 columns", "quotes"),
        ("model\norg/a\n../x", UsageError, ", line 3: there is no file or folder", "begin in"),
        ("model,name\ntiny-*,x", UsageError, ", line 2: tiny-* is 3 models, which cannot", None),
        ("model,revision\norg/a@b,c", UsageError, ", line 2: org/a@b is asked for at", None),
        ('model\n"a\nb', MalformedError, ", line 3: not CSV", None),
        ('model\n"a"b', MalformedError, ", line 2: not CSV", None),
        ("model\n" + "x" * 10_000_000, MalformedError, ", line 2: not CSV (field larger", None),
        ("", UsageError, " names no model", None),
        ("model\n", UsageError, " names no model", None),
    ],
)
def test_csv_that_is_refused(tmp_path, content, kind, message, hint):
    found, found_hint = refused(tmp_path / "zoo.csv", content, kind)
    assert found.startswith(message)
    assert hint is None or hint in found_hint


# --- TOML ---------------------------------------------------------------------------------------

ZOO = """
[defaults]
mode = "data"
analyses = ["memory"]
source = {seq_len = 64, text = "corpus.txt"}
options.memory.horizon = 100

[models.tiny-mamba]

[models.long]
model = "org/a@v1"
source.seq_len = 4096
analyses = ["memory", "propagation"]
options.propagation.rank_tokens = 7

[models."org/b"]
revision = "v2"
mode = "weights"
config = {disc = "zoh"}
"""


def test_toml(tmp_path):
    base = replace(BASE, seed=5, source=TokenOptions(batch_size=2, seq_len=32))
    text = TokenOptions(batch_size=2, seq_len=64, text=str(tmp_path / "corpus.txt"))
    memory = MemoryOptions(horizon=100)
    expected = [
        RunSpec(
            model="tiny-mamba",
            mode="data",
            analyses=("memory",),
            seed=5,
            source=text,
            options=(memory,),
        ),
        RunSpec(
            model="org/a",
            revision="v1",
            mode="data",
            analyses=("memory", "propagation"),
            seed=5,
            source=replace(text, seq_len=4096),
            options=(memory, PropagationOptions(rank_tokens=7)),
        ),
        RunSpec(
            model="org/b",
            revision="v2",
            seed=5,
            mode="weights",
            analyses=("memory",),
            config={"disc": "zoh"},
            source=text,
            options=(memory,),
        ),
    ]
    found = listed(tmp_path / "zoo.toml", ZOO, base)
    assert [entry.spec for entry in found] == expected
    assert [entry.name for entry in found] == ["tiny-mamba", "long", "org--b@v2"]
    assert listed(tmp_path / "zoo.toml", ZOO.replace("\n", "\r\n"), base) == found


def test_defaults_may_have_options_of_what_each_model_asks_for(tmp_path):
    options = "defaults.options.memory.horizon = 7\n"
    (spec,) = specs(tmp_path / "zoo.toml", f'{options}models.tiny-mamba.analyses = ["memory"]')
    assert spec.options == (MemoryOptions(horizon=7),)
    message, _ = refused(tmp_path / "zoo.toml", f"{options}[models.tiny-mamba]")
    assert message.startswith(", line 2: horizon is for the analysis memory")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zoo.csv", "model,text\norg/a,t.txt"),
        ("zoo.toml", 'models.x = {model = "org/a", source.text = "t.txt"}'),
    ],
)
def test_the_same_words_in_two_folders(tmp_path, name, content):
    """Name two texts, and so two runs of a model."""
    for side in "ab":
        (tmp_path / side).mkdir()
        (tmp_path / side / name).write_text(content)
    found = select([str(tmp_path / side / name) for side in "ab"], BASE)
    assert [e.spec.source.text for e in found] == [str(tmp_path / side / "t.txt") for side in "ab"]
    assert len({entry.name for entry in found}) == 2


def test_toml_as_an_array(tmp_path):
    content = 'models = ["tiny-mamba", {model = "org/a", name = "x", seed = 3}]'
    tables = '[[models]]\nmodel="tiny-mamba"\n[[models]]\nmodel="org/a"\nname="x"\nseed=3\n'
    found = listed(tmp_path / "zoo.toml", content)
    assert [(e.name, e.spec.seed) for e in found] == [("tiny-mamba", 0), ("x", 3)]
    assert listed(tmp_path / "zoo.toml", tables) == found


def test_all_forms_say_the_same(tmp_path):
    """As one spec of the command line with a plain list does."""
    base = RunSpec(model="", seed=3, mode="data", source=TokenOptions(seq_len=128))
    of_line = specs(tmp_path / "a.txt", "org/a@v1", base)
    of_csv = specs(tmp_path / "a.csv", "model,seed,mode,seq_len\norg/a@v1,3,data,128")
    table = 'seed=3\nmode="data"\nsource.seq_len=128'
    of_toml = specs(tmp_path / "a.toml", f'[models."org/a@v1"]\n{table}')
    of_defaults = specs(tmp_path / "b.toml", f'[models]\n"org/a@v1"={{}}\n[defaults]\n{table}')
    of_spec = specs(tmp_path / "c.toml", f'model="org/a"\nrevision="v1"\n{table}')
    whole = json.dumps(of_line[0].record())
    assert of_line == of_csv == of_toml == of_defaults == of_spec
    assert of_line == specs(tmp_path / "a.json", whole)


def test_the_record_of_a_run_is_that_run(tmp_path):
    """With all its settings: those of the command line do not change it."""
    spec = RunSpec(
        model="tiny-mamba", analyses=("memory",), options=(MemoryOptions(horizon=32),), seed=2
    )
    run = analyze(spec, out=tmp_path / "run")
    (entry,) = select([str(run.folder / "run.json")], replace(BASE, seed=7))
    assert entry.name == "tiny-mamba"
    assert entry.spec.record() == dict(run.manifest.spec)
    assert (entry.spec.seed, entry.spec.options_of(MemoryOptions).horizon) == (2, 32)


@pytest.mark.parametrize(
    ("content", "kind", "message", "hint"),
    [
        ("[models.a]\nx=", MalformedError, " is not TOML: ", None),
        ("tiny-mamba\n", MalformedError, " is not TOML: ", "ends with .txt"),
        ("x=" + "[" * 100_000, MalformedError, " is nested too deeply", None),
        ("#\n" + ".".join("a" * 9999) + "=1", MalformedError, ", line 2: more dots", None),
        ("x={" * 10_000, MalformedError, " is nested too deeply", None),
        ("", UsageError, ": it names no models", "[models."),
        ("models = 3", UsageError, ": it names no models", "[models."),
        ("[model.a]", UsageError, ": unknown key 'model'", "did you mean models?"),
        ("[models]\na = 3", UsageError, ": [models.a] must be a table, not 3", None),
        ("models = [[]]", UsageError, ": model 1 of [[models]] must be a table", None),
        ("[[models]]\nseed=1", UsageError, ", line 1: model 1 of [[models]] names no model", None),
        ("[models.a]\nmodel=3", UsageError, ", line 1: model must be a text, not 3", None),
        (
            "[models.tiny-mamba]\n\n[models.tiny-mamba2]\nsede=3",
            UsageError,
            ", line 3: unknown key 'sede' in [models.tiny-mamba2]",
            "did you mean seed?",
        ),
        (
            "[models.tiny-mamba]\nseq_len=3",
            UsageError,
            ", line 1: seq_len is a key of source",
            "source.seq_len = 3",
        ),
        (
            "[models.tiny-mamba]\nhorizon=3",
            UsageError,
            ", line 1: horizon is a key of options.memory",
            "options.memory.horizon = 3",
        ),
        (
            "[models.tiny-mamba]\n[defaults]\noptions.memry.horizon=3",
            UsageError,
            ", line 2: unknown key 'memry' in the options of [defaults]",
            "did you mean memory?",
        ),
        ("defaults=3\n[models.a]", UsageError, ", line 1: defaults must be a table", None),
        ("defaults.model='a'\n[models.a]", UsageError, ", line 1: [defaults] are of all", None),
        ("models.a.model='../x'", UsageError, ", line 1: there is no file or folder", None),
        (f"models.a.mode='{'x' * 9000}'", UsageError, ", line 1: mode in [models.a] is", None),
        ("models.a.seed=nan", UsageError, ", line 1: seed in [models.a] is nan", None),
        ('family="mamba"\n[models.a]\nrepo="x/y"', UsageError, ": it is a file of the", "--family"),
    ],
)
def test_toml_that_is_refused(tmp_path, content, kind, message, hint):
    found, found_hint = refused(tmp_path / "zoo.toml", content, kind)
    assert found.startswith(message)
    assert len(found) < 600
    assert hint is None or hint in found_hint


_NAMES = ["a", "b", "seed", "org/a", "models", "a b", 'q"uote', "x.y"]
_DECOYS = ["", "# a models b", "# [models.seed]", 'decoy.{} = """\n[models.a]\nb = 1\n"""']


@given(
    names=st.lists(st.sampled_from(_NAMES), min_size=1, max_size=6, unique=True),
    decoys=st.lists(st.sampled_from(_DECOYS), min_size=6, max_size=6),
    inline=st.booleans(),
)
def test_the_line_of_a_key(names, decoys, inline):
    """Against the line that the file was written at, past comments and texts of several lines."""
    lines, expected = (["[models]"] if inline else []), []
    for name, decoy in zip(names, decoys, strict=False):
        lines += decoy.format(len(lines)).split("\n")
        quoted = json.dumps(name)
        lines.append(f"{quoted} = {{seed = 1}}" if inline else f"[models.{quoted}]")
        expected.append(len(lines))
    text = "\n".join(lines)
    found = [line_of(text, ("models", name)) for name in names]
    assert [line for line in found if line is not None] == [
        line for line, known in zip(expected, found, strict=True) if known is not None
    ]
    plain = [n for n, name in enumerate(names) if '"' not in name]
    assert all(found[n] is not None for n in plain)


@pytest.mark.parametrize("number", [0, 1, 57, 199])
def test_the_line_of_a_table_of_an_array(number):
    text = "# models\n" + '[[models]]\nmodel = "a"\n\n' * 200
    assert line_of(text, ("models", number)) == 2 + 3 * number


# --- what is no list ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["zoo.txt", "zoo.csv", "zoo.toml"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((CHECKPOINTS / "tiny-mamba" / "model.safetensors").read_bytes(), "a safetensors file"),
        (b"PK\x03\x04rest", "a zip archive or PyTorch weights"),
        (b"PAR1\x00\x01", "a Parquet file"),
        (gzip.compress(b"tiny-mamba", mtime=0), "a gzip file"),
        (b"tiny-mamba\n\0", "a binary file"),
        ("tiny-mamba\n".encode("utf-16"), "UTF-16"),
        (b"tiny-mamba\norg/\xe9\n", "line 2: not UTF-8 text (byte 0xe9)"),
    ],
)
def test_a_file_that_is_no_text(tmp_path, name, content, message):
    found, hint = refused(tmp_path / name, content, MalformedError)
    assert message in found
    assert hint


def test_a_list_that_is_too_large(tmp_path):
    content = b"tiny-mamba\n" * (list_text.MOST_BYTES // 11 + 1)
    found, _ = refused(tmp_path / "zoo.txt", content, MalformedError)
    assert "larger than 16 MiB" in found


def test_a_list_that_cannot_be_read(tmp_path, monkeypatch):
    path = tmp_path / "zoo.txt"
    path.write_text("tiny-mamba")

    def shut(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", shut)
    with pytest.raises(UsageError, match="cannot read the list .*: Permission denied"):
        select([str(path)], BASE)


def test_a_list_in_a_list(tmp_path):
    (tmp_path / "other.txt").write_text("tiny-mamba")
    message, hint = refused(tmp_path / "zoo.txt", "other.txt")
    assert message == ", line 1: other.txt is not a weight file, and a list names no other list"
    assert ".safetensors" in hint


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("[]", MalformedError),
        ("{", MalformedError),
        ("[" * 100_000, MalformedError),
        ("{}", UsageError),
        ('{"model": 3}', UsageError),
        ('{"model": "tiny-mamba", "sede": 1}', UsageError),
    ],
)
def test_a_spec_file_that_is_none(tmp_path, content, kind):
    refused(tmp_path / "spec.json", content, kind)


def check_any(path, content):
    """Models, or an error that can be shown; never another exception."""
    try:
        found = listed(path, content)
    except SpectrakitError as error:
        refusal = error
    else:
        assert found
        return
    assert refusal.exit_code in (2, 4)
    assert str(refusal).replace("\n", "").isprintable()


@given(st.binary(max_size=200), st.sampled_from([".txt", ".csv", ".toml", ".json"]))
def test_whatever_a_file_holds(tmp_path_factory, content, ending):
    check_any(tmp_path_factory.mktemp("list") / f"zoo{ending}", content)


@given(
    st.text(max_size=60),
    st.sampled_from([(".txt", "{}"), (".csv", "model\n{}"), (".toml", "[models.{}]"),
                     (".toml", "models={}")]),
)  # fmt: skip
def test_whatever_a_text_holds(tmp_path_factory, text, form):
    ending, frame = form
    content = frame.replace("{}", text).encode("utf-8", "surrogatepass")
    check_any(tmp_path_factory.mktemp("list") / f"zoo{ending}", content)
