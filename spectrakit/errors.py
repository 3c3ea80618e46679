"""Every error a user can meet: one line that says what is wrong and where, and what to try next.

The command line prints them and leaves with `exit_code`; the Python API raises them. Any other
exception that escapes is a bug of spectrakit.
"""

from __future__ import annotations

import re

from spectrakit.plain import plain

#: The exit code after Ctrl-C, as shells have it.
INTERRUPTED = 130

# Tokens have 34 characters after the prefix; a repository called hf_mamba is none.
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")
_AUTHORIZATION = re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?bearer\s+)[^\s'\",]+")
_URL_PASSWORD = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@")


def scrub(text: str) -> str:
    """`text` without access tokens: fit for logs, errors and file metadata."""
    # Of ten thousand records every text comes through here: most have none of these marks.
    if "hf_" in text:
        text = _TOKEN.sub("hf_***", text)
    if ":" in text or "=" in text:
        text = _AUTHORIZATION.sub(r"\1***", text)
    return _URL_PASSWORD.sub(r"\1***@", text) if "@" in text else text


class SpectrakitError(Exception):
    """What is wrong, in one line, and the next thing to try.

    `exit_code` is the status the command line leaves with, `meaning` what `--help` says of it.
    """

    exit_code = 1
    meaning = "analysis failed"
    #: Whether its hint has all that is to be typed, as of another model than was asked for.
    hint_is_typed = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = plain(" ".join(scrub(message).split()))
        self.hint = None if hint is None else plain(scrub(hint))
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  try: {self.hint}"


class AnalysisError(SpectrakitError):
    """The model was read, and the analysis of it failed (exit code 1)."""

    exit_code = 1


class OutputError(SpectrakitError):
    """A result could not be written (exit code 1)."""

    exit_code = 1


class UsageError(SpectrakitError):
    """The request itself is wrong: an option, a name, a layer that is not there (exit code 2)."""

    exit_code = 2
    meaning = "usage"


class UnsupportedError(SpectrakitError):
    """A well-formed model that nothing here knows how to read (exit code 3)."""

    exit_code = 3
    meaning = "unsupported model"


class MalformedError(SpectrakitError):
    """An input that is damaged, contradicts itself or is unsafe to read (exit code 4)."""

    exit_code = 4
    meaning = "unsafe or malformed input"


class BatchFailures(SpectrakitError):  # noqa: N818  (the batch ended, some of it failed)
    """A batch finished, and some of its models failed (exit code 5)."""

    exit_code = 5
    meaning = "batch finished with failures"


class NetworkError(SpectrakitError):
    """The Hub could not be reached, refused, or the file is not in the cache (exit code 6)."""

    exit_code = 6
    meaning = "network"


def exit_codes() -> dict[int, str]:
    """What each exit code of the command line means, in order; two errors may share one."""
    found = {0: "ok", INTERRUPTED: "interrupted"}
    for error in SpectrakitError.__subclasses__():
        if error.__module__ == __name__:  # a plugin's own go by the codes that there are
            found.setdefault(error.exit_code, error.meaning)
    return dict(sorted(found.items()))
