"""What users may set at this endpoint. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fedproxy.errors import EndpointConfigError
from fedproxy.protocol.messages import Spec


def settings_refusal(spec: Spec, allowed: Sequence[str]) -> EndpointConfigError | None:
    """Why a task with these settings is not run here; None if it is."""
    if not spec.user_config:
        return None
    try:
        keys = set(json.loads(spec.user_config))
    except (ValueError, TypeError):
        return EndpointConfigError("user_endpoint_config is not a JSON object")
    unwanted = sorted(keys - set(allowed))
    if not unwanted:
        return None
    hint = f"it allows {', '.join(sorted(allowed))}" if allowed else "it allows none: its owner lists keys in user_config_keys of its config.yaml"
    return EndpointConfigError(f"user_endpoint_config: the endpoint does not let users set {', '.join(map(repr, unwanted))}", hint=hint)
