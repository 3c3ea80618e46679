from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest

from spectrakit.builtin import TABLES
from spectrakit.tables import IDENTITY, SPECTRUM_SUMMARY
from spectrakit.tables.schemas import MODULUS_SHARES, PHASE_SHARES, bound_name, quantile_names
from tests.tables.samples import ROOT


def test_share_columns_are_named_after_the_bins():
    assert MODULUS_SHARES == (
        "share_modulus_0_0p1",
        "share_modulus_0p1_0p5",
        "share_modulus_0p5_0p9",
        "share_modulus_0p9_1",
        "share_modulus_1_10",
        "share_modulus_10_100",
        "share_modulus_100_inf",
    )
    assert PHASE_SHARES == (
        "share_phase_0_1",
        "share_phase_1_10",
        "share_phase_10_45",
        "share_phase_45_90",
        "share_phase_90_180",
    )
    assert quantile_names("modulus")[0] == "modulus_q05"


def test_every_share_has_its_bound():
    names = [column.name for column in SPECTRUM_SUMMARY.columns]
    for share in (*MODULUS_SHARES, *PHASE_SHARES):
        assert names.index(bound_name(share)) == names.index(share) + 1


def test_the_bins_close_on_the_right():
    meanings = {column.name: column.meaning for column in SPECTRUM_SUMMARY.columns}
    assert "[0, 0.1]" in meanings["share_modulus_0_0p1"]
    assert "(0.9, 1]" in meanings["share_modulus_0p9_1"]
    assert "(100, inf)" in meanings["share_modulus_100_inf"]


def test_table_names_are_unique():
    assert len({schema.name for schema in TABLES}) == len(TABLES)


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.name)
def test_every_table_begins_with_the_models_identity_and_says_what_its_columns_mean(schema):
    names = schema.arrow.names
    assert names[: len(IDENTITY)] == ["model_id", "revision"]
    assert len(set(names)) == len(names)
    for column, field in zip(schema.all_columns, schema.arrow, strict=True):
        assert column.meaning.endswith(".")
        assert field.metadata == {
            b"unit": column.unit.encode(),
            b"meaning": column.meaning.encode(),
        }
        assert field.nullable == column.nullable
        assert field.type in {pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()}


def test_importing_the_tables_imports_nothing_heavy():
    code = (
        "import sys, spectrakit.tables; "
        "print({'pyarrow', 'numpy', 'torch', 'altair'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"
