"""Results that are fed back in stay within the budget of the first text."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langgraph.store.memory import InMemoryStore
from scripted import ScriptedModel

from tracetune import (
    InputError,
    Settings,
    create_multi_prompt_optimizer,
    create_prompt_optimizer,
    update_prompts_in_store,
)
from tracetune.dropin.first_sizes import FirstSizes

ONCE = Settings(retries=0)
RUNS: Any = [([("user", "Write to Ana."), ("ai", "Dear Ana")], "Be polite in every case there is.")]
RULES = "Be polite to whoever writes, whatever it may be about. " * 30
"""1,650 characters."""


def growing() -> ScriptedModel:
    """A model that makes every prompt longer each time it is asked."""

    def longer(sent: str) -> Any:
        found = re.search(r"<(current_prompt|text-\w+)>\n(.*?)\n</\1>", sent, re.DOTALL)
        assert found
        text = found.group(2)
        return {"text": f"{text} Round {len(text)}. {RULES}".strip(), "changes": []}

    return ScriptedModel(answers={"Rewrite": longer})


def optimized(prompt: dict[str, Any]) -> dict[str, Any]:
    optimizer = create_multi_prompt_optimizer(growing(), kind="rewrite", settings=ONCE)
    [updated] = optimizer.invoke({"trajectories": RUNS, "prompts": [prompt]})
    return updated


def test_what_is_fed_back_ten_times_stays_within_the_first_budget() -> None:
    text = "You write letters to Ana."
    for _ in range(10):
        # A new optimizer and a new record each time, as where both are made for every request.
        text = optimized({"name": "main", "prompt": text})["prompt"]
    assert 1_000 < len(text) <= 25 + 2_000


def test_the_mail_agents_loop_stays_within_it_too() -> None:
    store = InMemoryStore()
    store.put(("ana",), "agent_instructions", {"prompt": "You write letters for Ana."})
    sizes = []
    for _ in range(10):
        item = store.get(("ana",), "agent_instructions")
        assert item is not None
        sizes.append(len(item.value["prompt"]))
        prompts = [{"name": "main_agent", "prompt": item.value["prompt"]}]
        update_prompts_in_store(store, "ana", [optimized(prompts[0])], prompts)
    assert sizes[0] == 26
    assert 1_000 < sizes[-1] <= 26 + 2_000


def test_a_first_size_of_the_callers_own_counts_and_comes_back() -> None:
    text = "You write to Bo. " + "x " * 700
    given = {"name": "main", "prompt": text, "first_size": 20}
    assert optimized(given) == given
    got = optimized({**given, "first_size": 1_500})
    assert got["first_size"] == 1_500
    assert len(got["prompt"]) > len(text)


def test_what_a_person_changed_is_a_new_start() -> None:
    made = optimized({"name": "main", "prompt": "You write letters to Cy."})["prompt"]
    kept = optimized({"name": "main", "prompt": made})["prompt"]
    edited = optimized({"name": "main", "prompt": f"{made} Sign as Cy."})["prompt"]
    assert kept == made
    assert len(edited) > len(made) + 1_000


@pytest.mark.parametrize("size", ["20", 2.5, -1, True])
def test_a_first_size_must_be_a_number_of_characters(size: Any) -> None:
    prompt = {"name": "main", "prompt": "You write.", "first_size": size}
    with pytest.raises(InputError, match="first_size of prompt 'main'"):
        create_prompt_optimizer(growing()).invoke({"trajectories": RUNS, "prompt": prompt})


def test_sizes_are_bounded_in_number_and_safe_under_threads() -> None:
    sizes = FirstSizes(kept=100)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: sizes.note(f"text {n}", n), range(5_000)))
    sizes.note("the last", 7)
    assert sizes.of("the last") == 7
    assert sum(sizes.of(f"text {n}") is not None for n in range(5_000)) == 99
