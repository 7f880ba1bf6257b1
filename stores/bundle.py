"""A bundle: an agent's prompts and config, together the thing that is tuned and released."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Bundle"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """All prompts (text by name) and the config (JSON values by name) of one agent."""

    prompts: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the content; key order does not count."""
        content = {"prompts": dict(self.prompts), "config": dict(self.config)}
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
