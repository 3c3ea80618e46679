"""Every form is what the table says of it: read as its original, or refused in those words."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shlex
import sys
import warnings

import pytest
import torch
from typer.testing import CliRunner

import spectrakit as sk
from spectrakit.cli.app import build_app
from spectrakit.errors import SpectrakitError
from tests.forms import FORMS
from tests.forms.base import Made, everyone_has, pins

TOKENS = torch.arange(40)[None] % 60
PLACES = torch.tensor([[5, 39]])

WAYS = [
    pytest.param(form, way, id=f"{form}, {way}".replace("/", " ").replace(".", ""))
    for form in FORMS
    for way in form.makers
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(form, way)` makes it once."""
    kept = {}

    def make(form, way):
        if way == "library":
            for package in form.packages:
                pytest.importorskip(package.replace("-", "_"))
        if (form.name, way) not in kept:
            folder = tmp_path_factory.mktemp("form") / "my model"
            folder.mkdir()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the library's
                done = form.makers[way](folder, form.original)
            kept[form.name, way] = done if isinstance(done, Made) else Made(done)
        return kept[form.name, way]

    return make


def opened(form, made):
    return sk.open_checkpoint(str(made.name), **form.options)


def given(form):
    """The form's options as a command line has them."""
    return [word for key, value in form.options.items() for word in (f"--{key}", value)]


def run(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["spectrakit", *words])
    result = CliRunner().invoke(build_app(), words)
    return result.exit_code, result.output


def like(form, made):
    return sk.open_checkpoint(str(made.like or form.original.folder))


@pytest.mark.parametrize(("form", "way"), WAYS)
def test_weights_mode(form, way, made):
    """The eigenvalues of every layer are those of the original."""
    checkpoint = made(form, way)
    if form.refused:
        with pytest.raises(SpectrakitError), opened(form, checkpoint) as model:
            assert not model.layers
        return
    with opened(form, checkpoint) as model, like(form, checkpoint) as original:
        assert [layer.kind for layer in model.layers] == [layer.kind for layer in original.layers]
        for layer in original.layers:
            torch.testing.assert_close(
                model.recurrence(layer.index).eigenvalues().log_modulus,
                original.recurrence(layer.index).eigenvalues().log_modulus,
                rtol=form.tolerance,
                atol=0,
            )


@pytest.mark.parametrize(("form", "way"), [way for way in WAYS if not way.values[0].refused])
def test_data_mode(form, way, made):
    """The output is that of the original; or it is said why there is none."""
    checkpoint = made(form, way)
    if form.without and importlib.util.find_spec(form.without):
        pytest.skip(f"{form.without} is installed")
    with opened(form, checkpoint) as model:
        if form.no_data is not None:
            with pytest.raises(SpectrakitError) as error:
                model.load()
            assert form.no_data in error.value.message
            return
        with like(form, checkpoint) as original:
            expected = original.load().logits(TOKENS, PLACES)
            found = model.load().logits(TOKENS, PLACES)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=form.tolerance * scale)


@pytest.mark.parametrize(("form", "way"), WAYS)
def test_what_is_said(form, way, made, monkeypatch):
    """`inspect` says it, without the options; with them it leaves with 0 where the form is read."""
    monkeypatch.setenv("COLUMNS", "200")
    words = ["inspect", str(made(form, way).name)]
    code, said = run(words, monkeypatch)
    assert form.says in " ".join(said.split()), f"{shlex.join(words)}\n{said}"
    assert (code == 0) is not (form.refused or bool(form.options)), said
    if form.options and not form.refused:
        code, said = run([*words, *given(form)], monkeypatch)
        assert code == 0, said


@pytest.mark.filterwarnings("ignore")  # of the library's
@pytest.mark.parametrize("form", [form for form in FORMS if form.way_out], ids=str)
def test_the_way_out(form, made, monkeypatch, tmp_path):
    """The line of Python that the refusal gives writes a file that is read."""
    checkpoint = made(form, "library")
    with pytest.raises(SpectrakitError) as error, opened(form, checkpoint) as model:
        model.recurrence(0)
    line = error.value.hint.partition(": ")[2].partition("; or of ")[0]
    line, _, ending = line.partition("; of a whole module its ")
    assert not ending or ending == ".state_dict()"
    monkeypatch.chdir(tmp_path)
    exec(line, {})
    with sk.open_checkpoint(form.way_out) as model, like(form, checkpoint) as original:
        assert len(model.layers) == len(original.layers)
        for layer in original.layers:
            found, wanted = (
                each.recurrence(layer.index).eigenvalues() for each in (model, original)
            )
            torch.testing.assert_close(
                found.log_modulus, wanted.log_modulus, rtol=form.tolerance, atol=0
            )


def test_names_are_told_apart():
    names = [form.name for form in FORMS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_form_is_made_where_its_library_is_not_installed_too(form):
    assert form.makers
    assert set(form.packages) <= set(pins())
    assert form.library is None or form.packages
    if form.library is not None and not all(map(everyone_has, form.packages)):
        assert form.written is not None


@pytest.mark.parametrize("package", sorted({p for form in FORMS for p in form.packages}))
def test_versions_are_those_of_the_page(package):
    if not everyone_has(package):
        pytest.importorskip(package.replace("-", "_"))
        assert importlib.metadata.version(package) == pins()[package]
