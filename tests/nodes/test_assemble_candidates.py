"""One bundle per agent, joined from what its branches drafted."""

from collections.abc import Callable
from typing import Any

import pytest

from tracetune.graph.state import PromptDraft, PromptTask
from tracetune.nodes.assemble_candidates import assemble

Make = Callable[..., PromptTask]

OLD = {"main": "Be kind.", "second": "Be brief.", "third": "Be exact."}
WAITS = {
    "second": {"when_to_update": "after main is updated"},
    "third": {"when_to_update": "after second is updated"},
}


def draft(prompt: str, text: str | None) -> PromptDraft:
    made = PromptDraft(
        agent="desk", prompt=prompt, origin="llm", guidelines=[], why=["So."], dropped=[]
    )
    if text is not None:
        made["text"] = text
    return made


def assembled(make: Make, texts: dict[str, str | None], specs: dict[str, Any]) -> Any:
    subject = make(OLD["main"], others={n: OLD[n] for n in ("second", "third")})["subject"]
    subject["prompt_specs"].update(specs)
    return assemble(subject, [draft(name, text) for name, text in texts.items()], [])


NEW = {name: f"{text} Always." for name, text in OLD.items()}


@pytest.mark.parametrize(
    ("texts", "changed", "alone"),
    [
        pytest.param(NEW, ["main", "second", "third"], [], id="all are updated"),
        pytest.param(
            NEW | {"main": None}, [], ["second", "third"], id="the first one stays as it was"
        ),
        pytest.param(
            NEW | {"second": OLD["second"]}, ["main"], ["third"], id="the one between stays"
        ),
        pytest.param({"main": NEW["main"]}, ["main"], [], id="only the first one was drafted"),
    ],
)
def test_what_follows_another_is_updated_only_where_that_one_really_changes(
    update_task: Make, texts: dict[str, str | None], changed: list[str], alone: list[str]
) -> None:
    candidate = assembled(update_task, texts, WAITS)
    assert [change["name"] for change in candidate["changes"]] == changed
    assert candidate["prompts"] == {n: NEW[n] if n in changed else OLD[n] for n in OLD}
    told = "its update, as what it is to follow was not updated"
    assert sorted(candidate["dropped"]) == [f"{name}: {told}" for name in alone]


def test_drafts_in_any_order_make_the_same_bundle(update_task: Make) -> None:
    backwards: dict[str, str | None] = {name: NEW[name] for name in reversed(NEW)}
    same = assembled(update_task, dict(NEW), WAITS), assembled(update_task, backwards, WAITS)
    assert same[0] == same[1]
