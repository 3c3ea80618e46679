from __future__ import annotations

from pathlib import Path

from docs.tables_page import main, render
from spectrakit.builtin import TABLES

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == render(), (
        "refresh it with: python docs/tables_page.py --write docs/tables.md"
    )


def test_every_column_is_described_in_one_table_row():
    lines = render().splitlines()
    for schema in TABLES:
        assert f"## `{schema.name}`" in lines
        for column in schema.columns:
            row = next(line for line in lines if line.startswith(f"| `{column.name}` |"))
            assert row.replace("\\|", "").count("|") == 6


def test_the_command_writes_the_page(tmp_path, capsys):
    main(["--write", str(tmp_path / "tables.md")])
    main([])
    assert (tmp_path / "tables.md").read_text(encoding="utf-8") == capsys.readouterr().out
