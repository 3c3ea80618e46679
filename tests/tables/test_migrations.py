"""Runs that earlier versions wrote are read, shown and compared with those of today."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import spectrakit as sk
from spectrakit.comparison.run_settings import other_settings
from spectrakit.errors import UsageError
from spectrakit.spec_files import spec_from
from spectrakit.tables import SCHEMA_VERSION, Manifest
from spectrakit.tables.migrations import migrated, with_todays_columns

OPTIONS_2 = {
    "analyses": ["spectrum", "memory", "propagation", "perturbation", "similarity", "probe"],
    "domains": ["discrete", "continuous"],
    "config": {},
    "memory": {"horizon": 64, "past": "infinite", "per_octave": 16, "positions": 2, "heads": 8,
               "precisions": ["bfloat16"], "curves": False},
    "propagation": {"rank_tokens": 16, "perturbation": 0.001},
    "similarity": {"estimators": ["cka"], "memory_bytes": 1 << 30, "without_first": False},
    "task": "kv-retrieval", "prompts": 20, "pairs": 2, "positions": 5, "folds": 5,
    "randomize": None,
    "gauge": "dsf and retained for attention, else each layer's own",
    "compat": None,
    "text": "bundled tiny-shakespeare", "text_sha256": None,
    "tokenizer": "the checkpoint's own", "tokenizer_sha256": "1" * 64,
    "batch_size": 4, "seq_len": 64, "max_tokens": 256, "bos": False, "chat_template": False,
}  # fmt: skip


def as_of_version_2(folder, options):
    """The run in `folder` with a `run.json` as that version wrote it."""
    path = folder / "run.json"
    record = json.loads(path.read_text())
    for name in ("spec", "contents", "remarks"):
        del record[name]
    path.write_text(json.dumps(record | {"schema_version": 2, "options": options}))


def test_the_options_of_version_2_are_a_spec():
    record = {"schema_version": 2, "mode": "data", "source": "catalog tiny-mamba", "seed": 3,
              "dtype": "float32", "options": OPTIONS_2}  # fmt: skip
    found = migrated(record, 3)
    assert found["schema_version"] == 3
    assert found["contents"] == {"tokenizer": "1" * 64}
    spec = spec_from(found["spec"])
    assert spec.model == "tiny-mamba"
    assert spec.source == sk.TokenOptions(seq_len=64, max_tokens=256)
    assert spec.options_of(sk.SpectrumOptions).domains == ("discrete", "continuous")
    assert spec.options_of(sk.PropagationOptions).rank_tokens == 16
    assert spec.options_of(sk.PerturbationOptions).size == 0.001
    assert spec.options_of(sk.SimilarityOptions).memory_mib == 1024
    assert spec.options_of(sk.ProbeOptions).pairs == 2
    assert spec.gauge is None


def test_a_record_of_today_is_left_as_it_is():
    record = json.loads(sk.analyze("tiny-mamba").manifest.to_json())
    assert migrated(record, SCHEMA_VERSION) == record


def test_a_run_of_version_2_is_read_and_compared_with_one_of_today(tmp_path):
    asked = {"analyses": ["memory", "spectrum"], "horizon": 64}
    sk.analyze("tiny-mamba", out=tmp_path / "old", **asked)
    today = sk.analyze("tiny-mamba", **asked)
    as_of_version_2(tmp_path / "old", {
        "analyses": ["memory", "spectrum"], "domains": ["discrete"], "config": {},
        "memory": today.manifest.spec["options"]["memory"], "randomize": None,
    })  # fmt: skip
    old = sk.read_run(tmp_path / "old")
    assert other_settings(old, today) == ""
    assert sk.compare(old, today).table("decay_distance").num_rows == 3


def test_a_column_of_version_2_has_the_name_of_today():
    table = pa.table({"task": ["kv"], "depth": [0]})
    assert with_todays_columns("probe", table).column_names == ["prompt_set", "depth"]
    assert with_todays_columns("other", table).column_names == ["task", "depth"]


def test_stored_columns_are_renamed_when_they_are_read(tmp_path):
    sk.analyze("tiny-mamba", analyses=["probe"], mode="data", prompts=10, pairs=2,
               out=tmp_path / "run")  # fmt: skip
    path = tmp_path / "run" / "probe.parquet"
    table = pq.read_table(path)
    names = ["task" if name == "prompt_set" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), path)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    content = path.read_bytes()
    record["tables"]["probe"] |= {
        "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert "prompt_set" in sk.read_run(tmp_path / "run").table("probe").column_names


def test_a_run_of_version_1_is_named_with_the_way_to_migrate():
    command = "spectrakit analyze tiny-mamba"
    today = sk.analyze("tiny-mamba")
    record = json.loads(today.manifest.to_json()) | {"schema_version": 1, "command": command}
    old = sk.Run(None, Manifest.from_json(json.dumps(record)), today._tables)
    with pytest.raises(UsageError, match="different versions") as caught:
        sk.compare(old, today)
    assert caught.value.hint == command
