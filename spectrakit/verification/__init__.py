"""The catalog against a Hub: what is there of every entry, and how it differs from what is said."""

from spectrakit.verification.adding import Added, Told, add
from spectrakit.verification.verifying import Verified, verify

__all__ = ["Added", "Told", "Verified", "add", "verify"]
