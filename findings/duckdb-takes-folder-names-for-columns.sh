#!/usr/bin/env bash
# One glob over Parquet files, three readers: where every folder is called KEY=VALUE, DuckDB adds a
# column KEY to the rows, of its own accord and with a type that it guesses; Polars and pyarrow do
# not. One folder with another name among them, and DuckDB does not either.
#
# Names of runs, models or experiments that hold a "=" change the columns of a query that way.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet duckdb==2.0.0 polars==2.1.0 pyarrow==26.0.1

cat > finding.py <<'P'
from glob import glob
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

print("duckdb", duckdb.__version__, "polars", pl.__version__, "pyarrow", pa.__version__)


def columns(pattern):
    rows = duckdb.sql(f"SELECT * FROM '{pattern}'")
    return {
        "duckdb": dict(zip(rows.columns, map(str, rows.types))),
        "polars": list(pl.scan_parquet(pattern).collect_schema()),
        "pyarrow": pyarrow.dataset.dataset(sorted(glob(pattern))).schema.names,
    }


for name in ("seed=1", "seed=2"):
    Path(name).mkdir()
    pq.write_table(pa.table({"layer": [0, 1]}), f"{name}/t.parquet")
alike = columns("*/t.parquet")
Path("plain").mkdir()
pq.write_table(pa.table({"layer": [0, 1]}), "plain/t.parquet")
mixed = columns("*/t.parquet")
print("folders seed=1, seed=2:       ", alike)
print("folders seed=1, seed=2, plain:", mixed)

assert alike["duckdb"] == {"layer": "BIGINT", "seed": "BIGINT"}, alike
assert list(mixed["duckdb"]) == ["layer"], mixed
assert all(found[reader] == ["layer"] for found in (alike, mixed) for reader in ("polars", "pyarrow"))
print("as found: DuckDB alone has a column for the folders' names, and only where all have a =")
P
venv/bin/python finding.py
