"""What a call of a model costs, as far as a price is known; never a guess."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

from tracetune.stores.project_file import Price

__all__ = ["cost_usd", "price_of", "prices_taken"]


def price_of(model: str, own: Mapping[str, Price], day: date | None = None) -> Price | None:
    """The price in force for exactly this name, or None when it is not known.

    Args:
        model: The model's own name, without its provider.
        own: The project's own prices, by `name` or `provider:name`; they go before the table that
            comes with tracetune.
        day: When the call is made (UTC); None means today.
    """
    name = model.removeprefix("models/")
    for known, price in own.items():
        if name in (known, known.partition(":")[2]):
            return price
    models = _table()["models"]
    steps = models.get(name)
    if isinstance(steps, str):
        steps = models[steps]
    if steps is None:
        return None
    now = day or datetime.now(UTC).date()
    in_force = [step for step in steps if step.get("from", date.min) <= now][-1]
    return Price(input=in_force["input"], output=in_force["output"])


def cost_usd(price: Price, tokens_in: int, tokens_out: int) -> float:
    """What these tokens cost, in USD."""
    return (price.input * tokens_in + price.output * tokens_out) / 1_000_000


def prices_taken() -> date:
    """The day on which the table that comes with tracetune was taken."""
    return date.fromisoformat(str(_table()["taken"]))


@functools.cache
def _table() -> Any:
    return yaml.safe_load(Path(__file__).with_name("prices.yaml").read_text(encoding="utf-8"))
