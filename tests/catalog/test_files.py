"""Family files are read strictly, and what is wrong with one is told with its name."""

from __future__ import annotations

import pytest

from spectrakit.catalog.files import MOST_BYTES, parse_family, read_family, read_folder
from spectrakit.errors import MalformedError

WHOLE = """
family = "falcon_mamba"

[models.falcon-mamba-7b]
description = "Mamba with normalised step and B, C"
repo = "tiiuae/falcon-mamba-7b"
file = "weights/model.pth"
config = ["disc=zoh", "bandlimit=null", "dt_fast=false"]
format = "transformers"
parameters = 7272665088
license = "falcon-llm-license"
gated = false
tokenizer = "EleutherAI/gpt-neox-20b"
weights_bytes = 50331648
smallest = true
counterpart_of = ["mamba-2.8b"]
source = "https://huggingface.co/docs/transformers/model_doc/falcon_mamba"
source_note = "sizes from the paper"

[models."mamba-1.5b"]
description = "no more than must be"
folder = "checkpoints/x"
"""


def test_every_key_reaches_the_entry():
    family = parse_family(WHOLE, "falcon_mamba")
    first, second = family.entries
    assert family.name == first.family == second.family == "falcon_mamba"
    assert first.name == "falcon-mamba-7b"
    assert first.description == "Mamba with normalised step and B, C"
    assert (first.source, first.repo, first.origin, first.folder) == (
        "tiiuae/falcon-mamba-7b", "tiiuae/falcon-mamba-7b", "hub", None,
    )  # fmt: skip
    assert (first.format, first.license) == ("transformers", "falcon-llm-license")
    assert (first.parameters, first.weights_bytes) == (7272665088, 50331648)
    assert first.file == "weights/model.pth"
    assert first.config == ("disc=zoh", "bandlimit=null", "dt_fast=false")
    assert first.address == "hf://tiiuae/falcon-mamba-7b/weights/model.pth"
    assert first.gated is False
    assert first.smallest is True
    assert first.tokenizer == "EleutherAI/gpt-neox-20b"
    assert first.counterpart_of == ("mamba-2.8b",)
    assert first.page == "https://huggingface.co/docs/transformers/model_doc/falcon_mamba"
    assert first.page_note == "sizes from the paper"
    assert (second.origin, second.repo, second.gated, second.parameters) == (
        "bundled", None, None, None,
    )  # fmt: skip
    assert second.address == "mamba-1.5b"
    assert second.folder.parts[-2:] == ("checkpoints", "x")


def test_a_family_without_a_public_model_says_why():
    family = parse_family('family = "x"\nno_public_model = "never released"', "x")
    assert (family.entries, family.no_public_model) == ((), "never released")


ENTRY = 'family = "f"\n[models.x]\ndescription = "d"\nrepo = "a/b"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models = ", "Invalid value"),
        ("", "family is None"),
        ('family = "f"', "neither models nor no_public_model"),
        ('family = "g"\n[models.x]', "family is 'g', its name says 'f'"),
        ('family = "f"\nmodels = 3', "models of it must be a table"),
        ('family = "f"\n[models]\nx = 3', "x is not a table"),
        ('family = "f"\nmodel = 3', "unknown key 'model'; did you mean models"),
        ('family = "f"\n[models.x]\ndescription = "neither"', "either repo or folder"),
        (ENTRY + 'folder = "c"', "either repo or folder"),
        ('family = "f"\n[models.x]\nrepo = "a/b"', "x has no description"),
        (ENTRY + 'config = "disc=zoh"', "config of x must be a list"),
        (ENTRY + 'config = ["disc"]', "'disc' is not KEY=VALUE"),
        (ENTRY + "config = [3]", "config of x must be a text"),
        (ENTRY + 'config = ["a=\\u001b"]', "config of x must be one line"),
        (ENTRY + 'file = "../b.pth"', "not a file of the repository"),
        ('family = "f"\n[models.x]\ndescription = "d"\nfolder = "c"\nfile = "d"', "has folder"),
        (ENTRY + 'licence = "MIT"', "unknown key 'licence'; did you mean license"),
        (ENTRY + "parameters = true", "parameters of x must be a whole number"),
        (ENTRY + 'parameters = "2B"', "parameters of x must be a whole number"),
        (ENTRY + "parameters = 2e9", "parameters of x must be a whole number"),
        (ENTRY + "parameters = 0", "which no model has"),
        (ENTRY + "parameters = 1000000000000000000000", "which no model has"),
        (ENTRY + "weights_bytes = -1", "which no model has"),
        (ENTRY + 'gated = "no"', "gated of x must be true or false"),
        (ENTRY + "license = 3", "license of x must be a text"),
        (ENTRY + 'license = ""', "license of x must be one line"),
        (ENTRY + 'license = "a\\nb"', "license of x must be one line"),
        (ENTRY + 'license = "\\u001b[31m"', "license of x must be one line"),
        (ENTRY + 'license = "\\u202emit"', "license of x must be one line"),
        (ENTRY + f'license = "{"x" * 501}"', "at most 500 characters"),
        (ENTRY + 'tokenizer = "../x"', "tokenizer of x is not a repository"),
        (ENTRY + 'source = "javascript:alert(1)"', "source of x is not the address of a page"),
        (ENTRY + 'source = "https://a b"', "source of x is not the address of a page"),
        (ENTRY + 'counterpart_of = "y"', "counterpart_of of x must be a list"),
        (ENTRY + "counterpart_of = [3]", "must be names of entries"),
        (ENTRY + 'counterpart_of = ["../y"]', "must be names of entries"),
        ('family = "f"\n[models.x]\ndescription = "d"\nrepo = "a//b"', "not a repository's id"),
        ('family = "f"\n[models.x]\ndescription = "d"\nfolder = "../b"', "inside the catalog"),
        ('family = "f"\n[models.x]\ndescription = "d"\nfolder = "/etc"', "inside the catalog"),
        ('family = "f"\n[models."a/b"]\ndescription = "d"\nrepo = "a/b"', "is not a name"),
        ('family = "f"\n[models."..x"]\ndescription = "d"\nrepo = "a/b"', "is not a name"),
        ('family = "f"\n[models.Big]\ndescription = "d"\nrepo = "a/b"', "is not a name"),
        ('family = "f"\nx = ' + "[" * 3000, ""),
    ],
)
def test_a_damaged_file_is_told(tmp_path, text, says):
    path = tmp_path / "f.toml"
    path.write_text(text)
    with pytest.raises(MalformedError) as caught:
        read_family(path)
    assert str(path) in caught.value.message
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def test_what_is_no_text_is_told(tmp_path):
    (tmp_path / "f.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(MalformedError, match=r"f\.toml"):
        read_family(tmp_path / "f.toml")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "f.toml").write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(MalformedError, match="too large"):
        read_family(tmp_path / "f.toml")


@pytest.mark.parametrize(
    ("second", "twice"),
    [
        ('[models.x]\ndescription = "d"\nrepo = "c/d"', "x twice"),
        ('[models.y]\ndescription = "d"\nrepo = "a/b"', "a/b twice"),
    ],
)
def test_a_name_and_a_repository_are_of_one_entry(tmp_path, second, twice):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "f.toml").write_text(ENTRY)
    (tmp_path / "models" / "g.toml").write_text(f'family = "g"\n{second}')
    with pytest.raises(MalformedError, match=rf"{twice}: in f\.toml and g\.toml"):
        read_folder(tmp_path)


def test_a_repository_of_several_files_has_several_entries(tmp_path):
    (tmp_path / "models").mkdir()
    text = "".join(
        f'[models.{name}]\ndescription = "d"\nrepo = "a/b"\nfile = "{name}.pth"\n' for name in "xy"
    )
    (tmp_path / "models" / "f.toml").write_text(f'family = "f"\n{text}')
    (family,) = read_folder(tmp_path)
    assert [entry.address for entry in family.entries] == ["hf://a/b/x.pth", "hf://a/b/y.pth"]


def test_a_folder_without_files_has_no_families(tmp_path):
    assert read_folder(tmp_path) == ()
