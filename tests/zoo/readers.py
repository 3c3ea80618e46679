"""The readers that people have, each over a dataset of a zoo: its rows, in no order."""

from __future__ import annotations

import duckdb
import polars as pl
import pyarrow.parquet as pq


def by_duckdb(pattern):
    """All rows of files that match a pattern, by DuckDB."""
    path = str(pattern).replace("'", "''")
    found = duckdb.sql(f"SELECT * FROM read_parquet('{path}')").to_arrow_table()
    return rows_of(found)


def by_polars(pattern):
    """The same by Polars."""
    return rows_of(pl.scan_parquet(str(pattern)).collect().to_arrow())


def by_pyarrow(dataset):
    """All rows of a pyarrow.dataset."""
    return rows_of(dataset.to_table())


def one_by_one(files):
    """The rows of each file in turn."""
    return sorted((row for file in files for row in rows_of(pq.ParquetFile(file).read())), key=repr)


def rows_of(table):
    """Rows that are equal where their values are."""
    names = sorted(table.column_names)
    columns = [table.column(name).to_pylist() for name in names]
    return sorted((dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)),
                  key=repr)  # fmt: skip
