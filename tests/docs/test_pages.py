"""Every page: what it shows is what comes out, and what it names is there."""

from __future__ import annotations

import re

import pytest

from docs.refresh import ROOT, Block, blocks, pages, refresh
from docs.shown import agree, differences
from tests.docs.commands import parse, unknown

RUN = [page.relative_to(ROOT).as_posix() for page in pages()]
PAGES = [*RUN, "docs/tables.md", "CHANGELOG.md"]

#: Prose and files that travel with the project must hold in any folder, on any machine.
TRAVELLING = (*PAGES, "Makefile", ".ci/run", "constraints.txt", "pyproject.toml", "docs/refresh.py")
FORBIDDEN = {
    "an absolute path": re.compile(r"(?<![\w.:/-])/(work|root|home|tmp|opt|Users|mnt)\b"),
    "a folder beside the project": re.compile(r"\.\./shared"),
    "a package index": re.compile(r"pypi\.org|pythonhosted|index-url"),
    "a token": re.compile(r"hf_[A-Za-z0-9]{8,}"),
}


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def shown_commands(page):
    """Lines of sh and console blocks that call spectrakit."""
    for block in blocks(text_of(page)):
        if block.language not in {"sh", "console"}:
            continue
        for line in block.body.splitlines():
            command = line.removeprefix("$ ")
            shown = block.language == "sh" or line.startswith("$ ")
            if shown and command.startswith("spectrakit "):
                yield re.split(r"\s*[|>;&]", command)[0]


def mentions(page):
    """`spectrakit ...` in running text."""
    return re.findall(r"`(spectrakit [a-z-][^`]*)`", text_of(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN if page != "README.md"])  # has its own test
def test_what_it_shows_is_what_comes_out(page, tmp_path):
    text = text_of(page)
    different = differences(page, text, refresh(text, tmp_path))
    assert not different, f"run `make docs`\n{different}"


@pytest.mark.parametrize("page", PAGES)
def test_its_commands_parse(page):
    for command in shown_commands(page):
        parse(command)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_it_mentions_exist(page):
    assert not {mention: unknown(mention) for mention in mentions(page) if unknown(mention)}


@pytest.mark.parametrize("page", PAGES)
def test_its_relative_links_resolve(page):
    outside_code = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", outside_code):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def anchors(text):
    """The names that headings can be linked by."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TRAVELLING)
@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_names_nothing_that_is_elsewhere(page, what):
    assert FORBIDDEN[what].search(text_of(page)) is None


@pytest.mark.parametrize("page", PAGES)
def test_its_make_tasks_exist(page):
    tasks = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`|&& )make ([a-z-]+)", text_of(page), flags=re.MULTILINE))
    assert named <= tasks


# ---- the tests of these tests ---------------------------------------------------------------


def test_forbidden_strings_would_be_found():
    found = {
        "an absolute path": "see /home/someone/x",
        "a folder beside the project": "../shared/data",
        "a package index": "https://pypi.org/simple",
        "a token": "hf_abcdefgh",
    }
    for what, text in found.items():
        assert FORBIDDEN[what].search(text)


def test_commands_that_do_not_exist_would_be_found():
    assert unknown("spectrakit analyse MODEL") == "analyse"
    assert unknown("spectrakit analyze MODEL --fast") == "--fast"
    assert unknown("spectrakit analyze MODEL --mode data --no-figures") is None
    with pytest.raises(Exception, match="'fast' is not one of"):
        parse("spectrakit analyze MODEL --mode fast")
    with pytest.raises(Exception, match="Missing parameter: model"):
        parse("spectrakit extract")


def test_a_stale_block_would_be_found(tmp_path):
    page = "```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n\n```console\n$ echo hi\nho\n```\n"
    assert blocks(refresh(page, tmp_path)) == [
        Block("python", "", "print(1 + 1)\n"),
        Block("text", "", "2\n"),
        Block("console", "", "$ echo hi\nhi\n"),
    ]


@pytest.mark.parametrize(("shown", "now"), [
    ("  0 mamba  data  1-1.2e-04  17  0.7% ▁▂▅▆█", "  0 mamba data 1-1.3e-04 18 0.8% ▁▃▅▆█"),
    ("radius 334M, of 1.23e-5 (0.500)", "radius 333M, of 1.22e-5 (0.501)"),
    ("lag 0.1234", "lag 0.1245"),
    ("4% of 334 steps", "5% of 335 steps"),
    ("mamba  ▁▅▆█▇▃▁▁", "mamba ▁▅▆█▇▃▂"),
])  # fmt: skip
def test_what_another_processor_rounds_otherwise_agrees(shown, now):
    assert agree(shown, now)
    assert not differences("page", f"a\n{shown}\nb", f"a\n{now}\nb")


@pytest.mark.parametrize(("shown", "now"), [
    ("layer 3", "layer 4"),
    ("count 5,120", "count 5,121"),
    ("0.50", "0.52"),
    ("1.2e-04", "1.4e-04"),
    ("19.0%", "18.0%"),
    ("12 MB", "12 kB"),
    ("wrote run-local-5c093e29663b", "wrote run-local-6c093e29663b"),
    ("▁▅▆█", "▁▅▆▅"),
    ("two words", "two"),
    ("0.12 -", "0.12 0.13"),
])  # fmt: skip
def test_more_than_rounding_does_not_agree(shown, now):
    assert not agree(shown, now)
    assert differences("page", shown, now)


def test_a_line_more_does_not_agree():
    assert differences("page", "a\n1.0", "a\n1.0\nb")
