"""What Python's readers raise of files that are damaged."""

from __future__ import annotations

import lzma
import zipfile
import zlib

#: Of packed files, archives and text; xz, zlib and zip have errors that are no OSError.
DAMAGE = (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
