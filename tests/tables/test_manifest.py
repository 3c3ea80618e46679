from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.errors import MalformedError
from spectrakit.tables import SCHEMA_VERSION, Manifest, WrittenFile
from tests.tables.samples import ROOT, manifest

TOKEN = "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_json_gives_it_back():
    before = manifest(
        seed=3,
        spec={"analyses": ["spectrum"], "options": {"spectrum": {"domain": "both"}}},
        contents={"text": "ab", "tokens": None},
        remarks={"equations": ["as published"]},
        tables={"spectrum": WrittenFile("spectrum.parquet", 10, "ab", 4)},
        files={"spectrum.png": WrittenFile("spectrum.png", 10, "ab")},
    )
    assert Manifest.from_json(before.to_json()) == before


def test_no_token_gets_in():
    made = manifest(
        command=f"spectrakit analyze me/model --token {TOKEN} --token=other-secret",
        source=f"https://someone:{TOKEN}@example.org/me/model",
        spec={"list": [TOKEN], "map": {TOKEN: f"Authorization: Bearer {TOKEN}"}},
        device=TOKEN,
    )
    for text in (made.to_json(), json.dumps(made.file_metadata()), repr(made)):
        assert TOKEN not in text
        assert "other-secret" not in text
    assert made.command == "spectrakit analyze me/model --token *** --token=***"


def test_the_metadata_of_a_file_does_not_depend_on_when_it_was_written():
    metadata = [manifest(created_at=when).file_metadata() for when in ("2026-01-01", "2026-01-02")]
    assert metadata[0] == metadata[1]
    assert metadata[0]["spectrakit.schema_version"] == str(SCHEMA_VERSION)
    assert metadata[0]["spectrakit.model_id"] == "state-spaces/mamba-130m"
    assert metadata[0]["spectrakit.pyarrow_version"]
    assert all(isinstance(value, str) for value in metadata[0].values())


def test_versions_are_found_without_importing_torch():
    code = (
        "import sys\n"
        "from spectrakit.tables import Manifest\n"
        "made = Manifest(model_id='m', revision='r', mode='weights')\n"
        "print('torch' in sys.modules, made.versions['torch'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    imported, version = done.stdout.split()
    assert imported == "False"
    assert version[0].isdigit()


def test_a_newer_layout_is_refused():
    record = json.loads(manifest().to_json()) | {"schema_version": SCHEMA_VERSION + 1, "new": 1}
    with pytest.raises(MalformedError, match=f"schema version {SCHEMA_VERSION + 1}"):
        Manifest.from_json(json.dumps(record))


@given(JSON)
def test_any_other_json_is_refused(value):
    with pytest.raises(MalformedError):
        Manifest.from_json(json.dumps(value))


@given(st.sampled_from(sorted(json.loads(manifest().to_json()))), JSON)
def test_a_manifest_with_one_entry_replaced_is_read_or_refused(name, value):
    record = json.loads(manifest(tables={"t": WrittenFile("t", 1, "ab", 1)}).to_json())
    try:
        made = Manifest.from_json(json.dumps(record | {name: value}))
    except MalformedError:
        return
    assert Manifest.from_json(made.to_json()) == made
    assert isinstance(made.model_id, str)
    assert all(isinstance(written.file, str) for written in made.tables.values())


def test_text_that_is_not_json_is_refused():
    with pytest.raises(MalformedError):
        Manifest.from_json('{"schema_version": 1,')
