"""What can be the id of a Hub repository."""

from __future__ import annotations

import re

#: `org/name` or `name`, as the Hub allows them.
_REPO_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)
_LONGEST = 96


def is_repo_id(name: str) -> bool:
    """Whether the Hub would take `name` for a repository's id."""
    if len(name) > _LONGEST or "--" in name or ".." in name or name.endswith(".git"):
        return False
    return all(not part.endswith((".", "-")) for part in name.split("/")) and bool(
        _REPO_ID.fullmatch(name)
    )
