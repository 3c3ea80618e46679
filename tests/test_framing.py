"""What stands around a text when asked for: a BOS token, a chat template's user turn."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import spectrakit as sk
from spectrakit.errors import MalformedError, UsageError
from spectrakit.framing import framing
from spectrakit.tables import read_run
from spectrakit.token_options import TokenOptions
from spectrakit.tokenization import tokenizer_sha256
from spectrakit.tokens import token_batches
from tests.conftest import CHECKPOINTS

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<u>{{ message.role }}:\n"
    "{{ message.content | trim }}</u>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)
SPECIAL = ["<s>", "<u>", "</u>", "<a>"]


def write_tokenizer(folder, **settings):
    """A tokenizer of words and bytes whose special tokens are 0 to 3, below a vocabulary of 256."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {letter: 4 + number for number, letter in enumerate(letters[:240])}
    merges = [("t", "o"), ("Ġ", "b"), ("Ġb", "e"), (":", "Ċ")]
    for pair in merges:
        ids["".join(pair)] = len(ids) + 4
    ids |= {name: number for number, name in enumerate(SPECIAL)}
    tokenizer = Tokenizer(models.BPE(ids, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture
def chat_folder(tmp_path):
    folder = tmp_path / "chat"
    shutil.copytree(CHECKPOINTS / "tiny-llama", folder)
    write_tokenizer(folder, bos_token={"content": "<s>"}, chat_template=TEMPLATE)
    return folder


def reference(folder, text, *, answer=False):
    """What transformers' own tokenizer makes of the conversation."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token="<s>", chat_template=TEMPLATE
    )
    turn = [{"role": "user", "content": text}]
    made = tokenizer.apply_chat_template(turn, add_generation_prompt=answer, return_dict=False)
    return list(made)


def rows(folder, text, tmp_path, **options):
    (tmp_path / "t.txt").write_text(text)
    with sk.open_checkpoint(str(folder)) as model:
        found = token_batches(TokenOptions(text=str(tmp_path / "t.txt"), **options), model, 256)
        return [ids[ok].tolist() for b in found for ids, ok in zip(b.ids, b.valid, strict=True)]


TEXT = "to be or not to be that is the question, whether it is nobler " * 3


def test_every_sequence_begins_with_the_bos_token(chat_folder, tmp_path):
    bare = rows(chat_folder, TEXT, tmp_path, seq_len=19)
    with_bos = rows(chat_folder, TEXT, tmp_path, seq_len=20, bos=True)
    assert with_bos == [[0, *row] for row in bare]
    assert len(with_bos) > 3


def test_rows_of_a_token_file_too(tmp_path, chat_folder):
    np.save(tmp_path / "t.npy", np.arange(10, 22).reshape(2, 6))
    with sk.open_checkpoint(str(chat_folder)) as model:
        options = TokenOptions(tokens=tmp_path / "t.npy", seq_len=5, bos=True)
        (batch,) = token_batches(options, model, 256)
    assert [ids[ok].tolist() for ids, ok in zip(batch.ids, batch.valid, strict=True)] == [
        [0, 10, 11, 12, 13], [0, 14, 15], [0, 16, 17, 18, 19], [0, 20, 21],
    ]  # fmt: skip


@pytest.mark.parametrize("bos", [False, True])
def test_a_text_is_the_conversation_that_transformers_makes(chat_folder, tmp_path, bos):
    text = "to be or not to be\n"
    found = rows(chat_folder, text, tmp_path, chat_template=True, bos=bos)
    assert found == [reference(chat_folder, text)]
    assert found[0].count(0) == 1  # the template has one of its own


def test_a_long_text_is_cut_into_turns_of_which_none_is_lost(chat_folder, tmp_path):
    found = rows(chat_folder, TEXT, tmp_path, chat_template=True, seq_len=40)
    assert len(found) > 3
    assert max(map(len, found)) <= 40
    assert min(map(len, found[:-1])) > 30
    tokenizer = Tokenizer.from_file(str(chat_folder / "tokenizer.json"))
    before, behind = "<s><u>user:\n", "</u>"
    pieces = []
    for row in found:
        said = tokenizer.decode(row, skip_special_tokens=False)
        pieces.append(said.removeprefix(before).removesuffix(behind))
        assert said == f"{before}{pieces[-1]}{behind}"
        assert row == reference(chat_folder, pieces[-1])
    # All of the text in its order, but for the spaces that the template trims.
    assert "".join(pieces).replace(" ", "") == TEXT.replace(" ", "")


def test_a_prompt_ends_where_the_answer_begins(chat_folder):
    with sk.open_checkpoint(str(chat_folder)) as model:
        plain = framing(TokenOptions(bos=True), model)
        assert list(plain.prompt("to be")) == [0, *plain.encode("to be")[0]]
        chat = framing(TokenOptions(chat_template=True), model)
        assert list(chat.prompt("to be")) == reference(chat_folder, "to be", answer=True)
        assert list(chat.prompt("to be"))[-1] == 3


def test_a_file_of_its_own_comes_first_and_of_many_the_default(chat_folder, tmp_path):
    many = [{"name": "tool", "template": "x"}, {"name": "default", "template": "D{{ bos_token }}"}]
    write_tokenizer(chat_folder, bos_token="<s>", chat_template=many)
    with sk.open_checkpoint(str(chat_folder)) as model:
        assert framing(TokenOptions(chat_template=True), model).render("x", False) == "D<s>"
        (chat_folder / "chat_template.jinja").write_text("F{{ messages[0].content }}")
        assert framing(TokenOptions(chat_template=True), model).render("x", False) == "Fx"
        named = TokenOptions(chat_template=True, tokenizer=str(chat_folder))
        assert framing(named, model).render("x", False) == "Fx"


def test_the_configs_bos_where_the_tokenizer_names_none(chat_folder):
    config = chat_folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"bos_token_id": 7}))
    write_tokenizer(chat_folder)
    for name in (None, "bytes"):
        with sk.open_checkpoint(str(chat_folder)) as model:
            assert framing(TokenOptions(bos=True, tokenizer=name), model).bos == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [({"bos": True}, "names a BOS token"), ({"chat_template": True}, "has no chat template")],
)
def test_what_is_not_there_is_said_before_a_model_is_loaded(options, message, monkeypatch):
    with sk.open_checkpoint("tiny-llama") as model:
        monkeypatch.setattr(type(model), "load", lambda *_: pytest.fail("the model was loaded"))
        with pytest.raises(UsageError, match=message) as caught:
            sk.analyze(model, mode="data", source=TokenOptions(**options))
        assert "leave" in caught.value.hint


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{% if %}", MalformedError),
        ("{{ raise_exception('only systems') }}", MalformedError),
        ("{{ ''.__class__.__mro__ }}{{ ().__class__.__base__.__subclasses__() }}", MalformedError),
        ("{{ messages[0].content }}" + "<u>" * 600, UsageError),
    ],
)
def test_templates_that_cannot_be_used(chat_folder, tmp_path, template, error):
    write_tokenizer(chat_folder, chat_template=template)
    with pytest.raises(error):
        rows(chat_folder, TEXT, tmp_path, chat_template=True)


def test_a_template_is_part_of_what_tells_runs_apart(chat_folder):
    def told(**options):
        with sk.open_checkpoint("tiny-llama") as model:
            return tokenizer_sha256(str(chat_folder), model, **options)

    write_tokenizer(chat_folder, chat_template="A{{ messages[0].content }}")
    bare, framed = told(), told(framed=True)
    write_tokenizer(chat_folder, chat_template="B{{ messages[0].content }}")
    assert told() == bare
    assert told(framed=True) != framed


def test_a_bos_token_that_the_vocabulary_does_not_have(chat_folder):
    write_tokenizer(chat_folder, bos_token="<nowhere>")
    missing = pytest.raises(UsageError, match="'<nowhere>' of .* is not in its tokenizer's")
    with sk.open_checkpoint(str(chat_folder)) as model, missing:
        framing(TokenOptions(bos=True), model)


def test_options_that_mean_nothing():
    with pytest.raises(UsageError, match="around a text"):
        TokenOptions(tokens="t.npy", chat_template=True)
    with pytest.raises(UsageError, match="seq_len must be at least 2"):
        TokenOptions(bos=True, seq_len=1)


def test_a_run_says_so_and_has_a_folder_of_its_own(chat_folder, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from spectrakit.cli.app import build_app

    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text(TEXT)
    words = ["analyze", str(chat_folder), "--text", "t.txt", "--no-figures"]
    for more in ([], ["--bos"], ["--chat-template"]):
        assert CliRunner().invoke(build_app(), [*words, *more]).exit_code == 0
    runs = [read_run(path.parent) for path in tmp_path.glob("spectrakit-runs/**/run.json")]
    sources = [run.manifest.spec["source"] for run in runs]
    asked = {(source["bos"], source["chat_template"]) for source in sources}
    assert asked == {(False, False), (True, False), (False, True)}
    from spectrakit.comparison.run_settings import other_settings

    plain = next(run for run in runs if not run.manifest.settings()["bos"])
    bos = next(run for run in runs if run.manifest.settings()["bos"])
    assert "bos no and yes" in other_settings(plain, bos)
