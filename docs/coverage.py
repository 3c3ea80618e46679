"""Writes docs/coverage.md from the registry and the tests: `python docs/coverage.py --write`.

What is claimed there is what exists: layer kinds and architectures come from the registered
plugins, model types from the families that the conformance tests run, and how a kind is verified
from the names of its tests.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for `tests`
os.environ["SPECTRAKIT_LOAD_PLUGINS"] = ""  # what ships, whatever else is installed here

from gguf import MODEL_ARCH_NAMES  # noqa: E402

import spectrakit as sk  # noqa: E402
from spectrakit.architectures.equations import departures  # noqa: E402
from spectrakit.checkpoints.gguf.families import UNSAID  # noqa: E402
from spectrakit.plugins import plugins  # noqa: E402
from spectrakit.testing.forward_checks import FORWARD_CHECKS  # noqa: E402
from spectrakit.testing.header_checks import HEADER_CHECKS  # noqa: E402
from tests.families import FAMILIES  # noqa: E402
from tests.forms import GROUPS  # noqa: E402
from tests.support.bare import LAYERS  # noqa: E402
from tests.support.gguf_files import ARCHITECTURES  # noqa: E402

if TYPE_CHECKING:
    from spectrakit.architectures import Layer
    from spectrakit.mixers import Mixer
    from tests.families.base import Family
    from tests.forms.base import Form

PAGE = ROOT / "docs" / "coverage.md"

_INTRODUCTION = """\
# What is covered

This page is generated from the registered plugins and from the tests: what is not tested is not
listed. *static*, *nominal* and *data* are explained in [numbers](numbers.md); `inspect MODEL` shows
the same for one checkpoint.
"""

#: Tests of a mixer that say what its recurrence or its eigenvalues are equal to.
_VERIFIES = re.compile(r"test_.*(recurrence|eigenvalue|all_pairs|closed_form|lambda_is|decays_are)")


def render() -> str:
    """The page."""
    seen = _families()
    shown = {layer.kind for _, layers in seen for layer in layers}
    return (
        "\n".join(
            [
                _INTRODUCTION,
                *_kinds(shown),
                "",
                *_model_types(seen),
                "",
                *_bare_layers(),
                "",
                *_gguf(seen),
                "",
                *_forms(),
                "",
                *_equations(),
                "",
                *_architectures(),
            ]
        )
        + "\n"
    )


def _families() -> list[tuple[Family, tuple[Layer, ...]]]:
    """The layers of every family, from the headers of a tiny checkpoint."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, family in enumerate(FAMILIES):
            folder = family.write(Path(scratch) / str(number))
            with sk.open_checkpoint(str(folder)) as model:
                found.append((family, model.layers))
    return found


def _kinds(shown: set[str]) -> Iterator[str]:
    yield "## Kinds of layers\n"
    yield "| layer | A_t | weights mode | data mode | verified |"
    yield "|---|---|---|---|---|"
    for name, registered in sorted(plugins().register().mixers.things.items()):
        mixer: type[Mixer] = registered.thing
        verified = "; ".join(_verified(mixer))
        yield (
            f"| `{name}` | {_words(mixer.operator)} | {mixer.weights_mode or ''} "
            f"| {_data_mode(mixer, shown)} | {verified} |"
        )


def _data_mode(mixer: type[Mixer], shown: set[str]) -> str:
    if mixer.name in shown:
        return "yes"
    if mixer.weights_mode == "static":
        return "A is the same for all tokens"
    return "from Python (`from_input`)" if hasattr(mixer, "from_input") else "no"


def _words(identifier: str) -> str:
    return identifier.replace("_", " ")


def _verified(mixer: type[Mixer]) -> list[str]:
    """What the tests of a mixer say it is equal to, in their own words."""
    said = {}
    for file in sorted((ROOT / "tests" / "mixers").glob("test_*.py")):
        tree = ast.parse(file.read_text())
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        if mixer.__name__ not in imported:
            continue
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and _VERIFIES.match(node.name):
                words = _words(node.name.removeprefix("test_"))
                said[words] = f"[{words}](../{file.relative_to(ROOT)})"
    return list(said.values())


def _model_types(seen: list[tuple[Family, tuple[Layer, ...]]]) -> Iterator[str]:
    yield "## Models of transformers\n"
    yield "Each of these is held to the same promises, at a tiny size with random weights:\n"
    for promise in _promises():
        yield f"- {promise}"
    yield ""
    yield "| model type | layers | A_t | weights mode | data mode |"
    yield "|---|---|---|---|---|"
    by_type: dict[str, dict[str, Layer]] = defaultdict(dict)
    for family, layers in seen:
        for layer in layers:
            by_type[family.model_type].setdefault(layer.kind, layer)
    for model_type, kinds in sorted(by_type.items()):
        modes = [layer.mixer.weights_mode for layer in kinds.values() if layer.mixer is not None]
        readable = any(layer.mixer is not None for layer in kinds.values())
        reasons = {layer.reason for layer in kinds.values() if layer.mixer is None}
        names = ", ".join(f"`{kind}`" for kind in kinds)
        operators = dict.fromkeys(
            _words(layer.mixer.operator) for layer in kinds.values() if layer.mixer is not None
        )
        weights = ", ".join(sorted({mode for mode in modes if mode is not None}))
        yield (
            f"| `{model_type}` | {names} | {', '.join(operators)} | {weights} "
            f"| {'yes' if readable else 'no: ' + '; '.join(map(str, reasons))} |"
        )


def _promises() -> Iterable[str]:
    for check in (*HEADER_CHECKS, *FORWARD_CHECKS):
        yield f"`{check.__name__}`: {inspect.getdoc(check)}"
    yield "`watching_changes_nothing`: Watched, the model computes what it does alone."


def _bare_layers() -> Iterator[str]:
    yield "## Layers in bare state dicts\n"
    yield "Recognised by names and shapes under any prefix, without a config ([bare](bare.md)).\n"
    yield "| form | layers | weights mode | data mode | what is said |"
    yield "|---|---|---|---|---|"
    for form, layer in LAYERS.items():
        with sk.from_state_dict(layer.tensors) as model:
            modes = {each.mixer.weights_mode or "" for each in model.layers if each.mixer}
            notes = "; ".join(each.reason for each in model.layers if each.reason)
            runs = "yes" if all(each.runs for each in model.layers) else "no: not a whole model"
        yield f"| {form} | `{layer.kind}` | {', '.join(modes)} | {runs} | {notes} |"


_GGUF = """\
## GGUF

llama.cpp's converter changes names and values; both are undone, so that a file is read as the model
of transformers that it was made of. Weights mode reads A and its step, which are float32 in every
quantisation, and needs no package. Data mode runs the unpacked weights, with the package gguf
(`pip install 'spectrakit[gguf]'`). Where GGUF has no key for something, what is usual in the family
is taken, and that is said; `--config` gives it. The tokenizer in the file is not read: give one by
`--tokenizer`. `inspect` lists the tensors of any other architecture.
"""


def _gguf(seen: list[tuple[Family, tuple[Layer, ...]]]) -> Iterator[str]:
    yield _GGUF
    yield "| architecture | model type | layers | weights mode | data mode | not said |"
    yield "|---|---|---|---|---|---|"
    layers = {family.model_type: layers for family, layers in seen}
    for model_type, architecture in ARCHITECTURES.items():
        own = layers[model_type]
        kinds = ", ".join(dict.fromkeys(f"`{layer.kind}`" for layer in own))
        modes = {layer.mixer.weights_mode or "" for layer in own if layer.mixer}
        unsaid = ", ".join(f"`{key}`" for key in UNSAID.get(model_type, ()))
        yield (
            f"| `{MODEL_ARCH_NAMES[architecture]}` | `{model_type}` | {kinds} "
            f"| {', '.join(sorted(modes - {''}))} | yes | {unsaid} |"
        )
    for kind in ("rwkv6", "rwkv7"):  # plugins/spectrakit-rwkv/tests/test_gguf.py
        runs = "with [spectrakit-rwkv](../plugins/spectrakit-rwkv)"
        yield f"| `{kind}` | (the project's names) | `{kind}` | nominal | {runs} | |"


_FORMS = """\
## Forms of checkpoints

Each is made from one model, by the library itself or in the layout that it writes, and then read:
in weights mode the eigenvalues of every layer, in data mode the output on a text are compared with
those of the model that it was made of, and `inspect` says what stands in the last column, among
other things. Those with versions that are not in `constraints.txt` are made by `make test-forms`,
and from a written layout by `make test`. The lines that save and read them are in
[own checkpoints](own-checkpoints.md).
"""


def _forms() -> Iterator[str]:
    yield _FORMS
    yield "| form | made by | weights mode | data mode | what is said |"
    yield "|---|---|---|---|---|"
    for group, forms in GROUPS.items():
        yield f"| **{group}** | | | | |"
        for form in forms:
            yield f"| {form.name} | {form.made_by} | {_modes(form)} | {form.says} |"


def _modes(form: Form) -> str:
    if form.refused:
        return "no | no"
    weights = "as the original" if not form.tolerance else f"to {form.tolerance:g}"
    return f"{weights} | {weights if form.no_data is None else f'no: {form.no_data}'}"


_WHOSE = """\
## Whose equations

A port of a model to the transformers library may compute something else than the code the model was
published with. These places are known; a run in which one matters says so, in either mode, with the
line `equations: ...` (stderr, `inspect`, and `options.equations` of `run.json`). For all other
models of transformers its code is followed as it is; that of Jamba, Bamba, Granite, Falcon-H1,
RecurrentGemma, xLSTM, LFM, Qwen3-Next and later, OLMo Hybrid, GLM-5-Next and Ling 3 has not been
compared with other code of their publishers.
"""


def _equations() -> Iterator[str]:
    yield _WHOSE
    yield "| model type | what | the model's own code | the port | followed | why |"
    yield "|---|---|---|---|---|---|"
    architectures = plugins().register().architectures.things.values()
    declared = {d for entry in architectures for d in departures(entry.thing)}
    for departure in sorted(declared, key=lambda d: (d.model_types, d.what)):
        types = ", ".join(f"`{model_type}`" for model_type in departure.model_types)
        yield (
            f"| {types} | {departure.what} | {departure.own} | {departure.port} "
            f"| {departure.follows} | {departure.why} |"
        )


def _architectures() -> Iterator[str]:
    yield "## Checkpoints\n"
    yield "| architecture | reads |"
    yield "|---|---|"
    for name, registered in sorted(plugins().register().architectures.things.items()):
        summary = (inspect.getdoc(type(registered.thing)) or "").partition("\n\n")[0]
        yield f"| `{name}` | {' '.join(summary.split())} |"


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(render(), encoding="utf-8")
    else:
        sys.stdout.write(render())


if __name__ == "__main__":
    main()
