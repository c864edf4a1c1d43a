"""How long what fedproxy puts by itself lives, where nobody removes it earlier."""

from __future__ import annotations

TASK_DATA_TTL_S = 24 * 3600.0
"""Large arguments and results of tasks: a client that was killed leaves nothing for longer."""
