"""What the command's exit code says."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_RUNNING: Final = 3
"""``status``: what was asked about is not running."""
INTERRUPTED: Final = 130
