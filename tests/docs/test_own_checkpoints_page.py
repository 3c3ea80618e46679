"""docs/own-checkpoints.md: every line that saves or reads is run, or checked from the layout.

Blocks of `python` are run with those of all pages. Those of `py` need libraries that are not
installed with the tests: here they are run where they are (`make test-forms`).
"""

from __future__ import annotations

import ast
import re

import pytest

from docs.refresh import ROOT, blocks, refresh
from tests.forms import FORMS

PAGE = (ROOT / "docs" / "own-checkpoints.md").read_text(encoding="utf-8")
LIBRARIES = {
    block.body: re.findall(r"^(?:import|from) (\w+)", block.body, re.MULTILINE)
    for block in blocks(PAGE)
    if block.language == "py"
}
#: What stands for the blocks in the tests of forms, which also run without the libraries.
FORMS_OF = {
    "lightning.": "Lightning .ckpt, Namespace in hyper_parameters",
    "engine.save_checkpoint": "DeepSpeed ZeRO stages 0 to 2",
    "get_peft_model": "PEFT LoRA",
    "mamba_ssm": "Mamba layers in a U-net",
}


@pytest.mark.parametrize("body", LIBRARIES, ids=lambda body: body.split("\n")[0])
def test_a_block_that_is_not_run_is_one_of_the_forms(body):
    ast.parse(body)
    (form,) = (name for word, name in FORMS_OF.items() if word in body)
    assert form in {each.name for each in FORMS}


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("library", ["lightning", "peft"])
def test_blocks_run_where_their_library_is_installed(library, tmp_path):
    pytest.importorskip(library)
    (body,) = (body for body, names in LIBRARIES.items() if library in names)
    first = next(block.body for block in blocks(PAGE) if block.language == "python")
    refresh(f"```python\n{first}```\n\n```python\n{body}```\n", tmp_path)


def test_the_table_has_what_the_page_tells():
    sections = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    table = PAGE.partition("## In a notebook")[0]
    for name in ("accelerate", "Lightning", "DeepSpeed", "PEFT", "JAX", "Trainer", "FSDP"):
        assert name in table
        assert any(name in section for section in sections)


def test_libraries_of_the_page_are_those_of_the_forms():
    known = {package for form in FORMS for package in form.packages} | {"mamba_ssm"}
    for names in LIBRARIES.values():
        assert set(names) <= known
