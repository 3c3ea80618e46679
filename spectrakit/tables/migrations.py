"""Records of runs that earlier versions of spectrakit wrote, as this one has them.

Schema version 2 had `options` where 3 has the whole `spec`, and called a prompt set a task. Version
1 had other columns in its summaries: its tables are read as they are, but not compared with others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spectrakit.token_options import BUNDLED_TEXT, STANDARD_INPUT

if TYPE_CHECKING:
    import pyarrow as pa

#: The version whose tables differ from today's in names alone.
_RENAMED = 2
#: Columns by table that are called otherwise now.
_COLUMNS = {"probe": {"task": "prompt_set"}}
_GAUGES = ("dsf", "retained", "unnormalised")
_TOKENS = ("tokenizer", "batch_size", "seq_len", "max_tokens", "bos", "chat_template")
_PROBE = ("prompts", "pairs", "positions", "folds")
_REMARKS = ("equations", "unknown_config_keys", "initial")


def migrated(record: Mapping[str, Any], current: int) -> dict[str, Any]:
    """A manifest's keys and values as version `current` has them; a current one is as it was."""
    found = dict(record)
    options = found.pop("options", None)
    if not isinstance(options, Mapping):
        return found
    if found["schema_version"] == _RENAMED:
        found["schema_version"] = current
    if "analyses" not in options:  # of a comparison, or of sets of eigenvalues
        return found | {"spec": options}
    contents = {
        "text": options.get("text_sha256"),
        "tokenizer": options.get("tokenizer_sha256"),
        "probe.prompt_file": options.get("task_sha256"),
    }
    return found | {
        "spec": _spec(found, options),
        "contents": {name: sha for name, sha in contents.items() if sha is not None},
        "remarks": {name: options[name] for name in _REMARKS if name in options},
    }


def _spec(record: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    gauge = options.get("gauge")
    groups = {name: dict(options[name]) for name in ("memory", "empirical_memory", "propagation",
                                                     "similarity") if name in options}  # fmt: skip
    domains = options.get("domains", ["discrete"])
    groups["spectrum"] = {"domain": domains[0] if len(domains) == 1 else "both"}
    if "perturbation" in groups.get("propagation", {}):
        groups["perturbation"] = {"size": groups["propagation"].pop("perturbation")}
    if "memory_bytes" in groups.get("similarity", {}):
        groups["similarity"]["memory_mib"] = groups["similarity"].pop("memory_bytes") / (1 << 20)
    if "task" in options:
        groups["probe"] = {name: options[name] for name in _PROBE if name in options}
        groups["probe"] |= {"prompt_set": options["task"], "prompt_file": options.get("task_file")}
    source = {name: options[name] for name in _TOKENS if name in options}
    text = options.get("text")
    unnamed: dict[Any, str | None] = {BUNDLED_TEXT: None, "standard input": STANDARD_INPUT}
    if source.get("tokenizer") == "the checkpoint's own":
        source["tokenizer"] = None
    source["text"] = unnamed.get(text, text)
    return {
        # Where a checkpoint was read is what opens it again, but for a word in front.
        "model": str(record.get("source", "")).removeprefix("catalog "),
        "config": options.get("config", {}),
        "mode": record.get("mode"),
        "analyses": options["analyses"],
        "options": groups,
        "source": source,
        "dtype": record.get("dtype"),
        "gauge": gauge if gauge in _GAUGES else None,
        "compat": options.get("compat"),
        "randomize": options.get("randomize"),
        "seed": record.get("seed"),
    }


def with_todays_columns(name: str, table: pa.Table) -> pa.Table:
    """A stored table with the names that its columns have now."""
    renamed = _COLUMNS.get(name, {})
    if not renamed.keys() & set(table.column_names):
        return table
    return table.rename_columns([renamed.get(column, column) for column in table.column_names])
