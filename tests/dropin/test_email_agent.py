"""Saving optimized prompts where an e-mail agent reads them."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import PutOp
from langgraph.store.memory import InMemoryStore

from tracetune import (
    ConflictError,
    InputError,
    ProceduralMemory,
    StoreError,
    aupdate_prompts_in_store,
    open_store,
    update_prompts_in_store,
)

Update = Callable[..., list[str]]


def awaited(*args: Any, **kwargs: Any) -> list[str]:
    return asyncio.run(aupdate_prompts_in_store(*args, **kwargs))


@pytest.fixture(params=[update_prompts_in_store, awaited], ids=["sync", "async"])
def update(request: pytest.FixtureRequest) -> Any:
    return request.param


def prompts() -> list[dict[str, Any]]:
    return [
        {"name": "main_agent", "prompt": "Use the tools.", "when_to_update": "always"},
        {"name": "triage-ignore", "prompt": "Ads."},
        {"name": "triage-notify", "prompt": "Sick leave."},
        {"name": "triage-respond", "prompt": "Questions."},
    ]


def updated(**texts: str) -> list[dict[str, Any]]:
    """The prompts with new texts; `_` in a name stands for `-` where there is such a prompt."""
    new = {name.replace("triage_", "triage-"): text for name, text in texts.items()}
    return [{**p, "prompt": new.get(p["name"], p["prompt"])} for p in prompts()]


def held(store: Any, key: str, user: str = "ana") -> Any:
    item = store.get((user,), key)
    return item and item.value


@pytest.mark.parametrize(
    ("name", "key"),
    [
        pytest.param("main_agent", "agent_instructions", id="the agent's instructions"),
        pytest.param("triage-ignore", "triage_ignore", id="what is ignored"),
        pytest.param("triage-notify", "triage_notify", id="what is told of"),
        pytest.param("triage-respond", "triage_respond", id="what is answered"),
    ],
)
def test_each_prompt_goes_where_the_agent_reads_it(update: Update, name: str, key: str) -> None:
    store = InMemoryStore()
    new = [{**p, "prompt": "New."} if p["name"] == name else p for p in prompts()]
    assert update(store, "ana", new, prompts()) == [name]
    assert held(store, key) == {"prompt": "New."}
    assert len(store.search(("ana",))) == 1


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        pytest.param(updated(), [], id="nothing changed"),
        pytest.param(
            list(reversed(updated(main_agent="Sign as Ana."))),
            ["main_agent"],
            id="another order than before",
        ),
        pytest.param(updated(main_agent="Sign.")[:1], ["main_agent"], id="only the changed one"),
        pytest.param(updated(main_agent=" \n"), [], id="a blank text"),
        pytest.param(
            updated(triage_respond="All.", main_agent="Sign."),
            ["main_agent", "triage-respond"],
            id="two of four",
        ),
    ],
)
def test_names_are_of_those_really_changed(update: Update, new: Any, expected: Any) -> None:
    store = InMemoryStore()
    assert update(store, "ana", new, prompts()) == expected
    assert len(store.search(("ana",))) == len(expected)


def test_other_fields_and_users_stay(update: Update) -> None:
    store = InMemoryStore()
    store.put(("ana",), "agent_instructions", {"prompt": "Use the tools.", "seen": 3})
    store.put(("bo",), "agent_instructions", {"prompt": "Use the tools."})
    update(store, "ana", updated(main_agent="Sign."), prompts())
    assert held(store, "agent_instructions") == {"prompt": "Sign.", "seen": 3}
    assert held(store, "agent_instructions", "bo") == {"prompt": "Use the tools."}


def test_a_text_saved_meanwhile_is_not_overwritten(update: Update) -> None:
    store = InMemoryStore()
    store.put(("ana",), "triage_ignore", {"prompt": "Ads, and Bo."})
    with pytest.raises(ConflictError, match="'triage-ignore' of 'ana'"):
        update(store, "ana", updated(main_agent="Sign.", triage_ignore="Spam."), prompts())
    assert held(store, "agent_instructions") is None
    assert held(store, "triage_ignore") == {"prompt": "Ads, and Bo."}
    assert ProceduralMemory(store, "email").agent("ana").head() is None


def test_every_save_is_a_release_that_can_be_rolled_back(update: Update) -> None:
    store = InMemoryStore()
    update(store, "ana", updated(main_agent="Sign."), prompts(), why=["She asked for it."])
    memory = ProceduralMemory(store, "email").agent("ana")
    assert memory.release.prompts["main_agent"] == "Sign."
    assert memory.release.why == ("She asked for it.",)
    assert [r.origin for r in memory.releases()] == ["llm", "import"]
    assert memory.rollback().prompts == {p["name"]: p["prompt"] for p in prompts()}


def test_an_edit_by_hand_between_two_saves_is_a_release_too(update: Update) -> None:
    store = InMemoryStore()
    update(store, "ana", updated(main_agent="Sign."), prompts())
    store.put(("ana",), "triage_ignore", {"prompt": "Ads, and Bo."})
    now = updated(main_agent="Sign.", triage_ignore="Ads, and Bo.")
    later = [{**p, "prompt": p["prompt"] + " Be brief."} for p in now[:1]] + now[1:]
    assert update(store, "ana", later, now) == ["main_agent"]
    memory = ProceduralMemory(store, "email").agent("ana")
    assert [r.origin for r in memory.releases()] == ["llm", "human", "llm", "import"]
    assert memory.release.prompts["triage-ignore"] == "Ads, and Bo."
    assert memory.release.prompts["main_agent"] == "Sign. Be brief."


def test_the_same_call_twice_saves_once(update: Update) -> None:
    store = InMemoryStore()
    store.put(("ana",), "agent_instructions", {"prompt": "Use the tools."})
    assert update(store, "ana", updated(main_agent="Sign."), prompts()) == ["main_agent"]
    assert update(store, "ana", updated(main_agent="Sign."), prompts()) == []
    memory = ProceduralMemory(store, "email").agent("ana")
    assert [r.origin for r in memory.releases()] == ["llm", "import"]


def test_what_is_there_already_is_not_named_beside_what_is_not(update: Update) -> None:
    store = InMemoryStore()
    store.put(("ana",), "agent_instructions", {"prompt": "Sign."})
    new = updated(main_agent="Sign.", triage_ignore="Spam.")
    assert update(store, "ana", new, prompts()) == ["triage-ignore"]
    memory = ProceduralMemory(store, "email").agent("ana")
    assert [r.prompts["main_agent"] for r in memory.releases()] == ["Sign.", "Sign."]
    assert memory.release.why == ("triage-ignore: updated by the optimizer",)


def test_a_release_holds_what_the_store_does(update: Update) -> None:
    store = InMemoryStore()
    update(store, "ana", updated(main_agent="Sign."), prompts())
    store.put(("ana",), "triage_ignore", {"prompt": "Ads, and Bo."})
    stale = updated(main_agent="Sign.")
    later = [{**stale[0], "prompt": "Sign. Be brief."}, *stale[1:]]
    assert update(store, "ana", later, stale) == ["main_agent"]
    assert held(store, "triage_ignore") == {"prompt": "Ads, and Bo."}
    releases = ProceduralMemory(store, "email").agent("ana").releases()
    assert [r.origin for r in releases] == ["llm", "human", "llm", "import"]
    assert [r.prompts["triage-ignore"] for r in releases] == ["Ads, and Bo."] * 2 + ["Ads."] * 2


class Full(InMemoryStore):
    """A store that cannot keep one text the first time."""

    failed = False

    def batch(self, ops: Any) -> Any:
        ops = list(ops)
        own = [op.value for op in ops if isinstance(op, PutOp) and op.namespace == ("ana",)]
        if {"prompt": "Sign."} in own and not self.failed:
            self.failed = True
            raise OSError("disk full")
        return super().batch(ops)

    async def abatch(self, ops: Any) -> Any:
        return self.batch(ops)


def test_a_save_that_failed_is_made_up_for_without_another_release(update: Update) -> None:
    store = Full()
    store.put(("ana",), "agent_instructions", {"prompt": "Use the tools."})
    with pytest.raises(StoreError, match="disk full"):
        update(store, "ana", updated(main_agent="Sign."), prompts())
    assert held(store, "agent_instructions") == {"prompt": "Use the tools."}
    assert update(store, "ana", updated(main_agent="Sign."), prompts()) == ["main_agent"]
    assert held(store, "agent_instructions") == {"prompt": "Sign."}
    memory = ProceduralMemory(store, "email").agent("ana")
    assert [r.origin for r in memory.releases()] == ["llm", "import"]


def test_any_iterable_and_one_sentence_will_do(update: Update) -> None:
    store = InMemoryStore()
    given = {p["name"]: p for p in prompts()}
    new = (p for p in updated(main_agent="Sign."))
    assert update(store, "ana", new, given.values(), why="She asked for it.") == ["main_agent"]
    assert ProceduralMemory(store, "email").agent("ana").release.why == ("She asked for it.",)


@pytest.mark.parametrize("why", [[1], [None], 5])
def test_reasons_that_are_no_text_are_refused_and_nothing_is_saved(
    update: Update, why: Any
) -> None:
    store = InMemoryStore()
    with pytest.raises(InputError, match="why must be a list of text, but got"):
        update(store, "ana", updated(main_agent="Sign."), prompts(), why=why)
    assert store.list_namespaces() == []


def test_two_names_on_one_key_are_refused(update: Update) -> None:
    store = InMemoryStore()
    given = [{"name": "a", "prompt": "A."}, {"name": "b", "prompt": "B."}]
    new = [{"name": "a", "prompt": "A!"}, {"name": "b", "prompt": "B!"}]
    with pytest.raises(InputError, match="'a' and 'b' both go to 'k'"):
        update(store, "ana", new, given, {"a": "k", "b": "k"})
    taken = [*prompts(), {"name": "a", "prompt": "A."}]
    with pytest.raises(InputError, match="'main_agent' and 'a' both go to 'agent_instructions'"):
        update(store, "ana", taken, taken, {"a": "agent_instructions"})
    assert store.list_namespaces() == []


def test_releases_are_kept_under_the_named_project_or_not_at_all(update: Update) -> None:
    store = InMemoryStore()
    update(store, "ana", updated(main_agent="Sign."), prompts(), project="post")
    assert ProceduralMemory(store, "post").agent("ana").release.prompts["main_agent"] == "Sign."
    bare = InMemoryStore()
    update(bare, "ana", updated(main_agent="Sign."), prompts(), project=None)
    assert bare.list_namespaces() == [("ana",)]


def test_nothing_is_embedded(update: Update) -> None:
    embedded: list[str] = []

    def embed(texts: Any) -> list[list[float]]:
        embedded.extend(texts)
        return [[0.0, 1.0] for _ in texts]

    store = InMemoryStore(index={"dims": 2, "embed": embed})
    update(store, "ana", updated(main_agent="Sign."), prompts())
    assert held(store, "agent_instructions") == {"prompt": "Sign."}
    assert embedded == []


def test_a_store_on_disk(update: Update, tmp_path: Path) -> None:
    with open_store("sqlite:///mail.db", base=tmp_path) as store:
        assert update(store, "ana", updated(main_agent="Sign."), prompts()) == ["main_agent"]
    with open_store("sqlite:///mail.db", base=tmp_path) as store:
        assert held(store, "agent_instructions") == {"prompt": "Sign."}
        assert ProceduralMemory(store, "email").agent("ana").prompts["main_agent"] == "Sign."


def test_own_keys_go_over_the_usual_ones(update: Update) -> None:
    store = InMemoryStore()
    given = [*prompts(), {"name": "sign-off", "prompt": "Bye."}]
    new = [{**p, "prompt": p["prompt"] + "!"} for p in given]
    keys = {"sign-off": "sign_off", "main_agent": "instructions"}
    assert update(store, "ana", new, given, keys) == [p["name"] for p in given]
    assert held(store, "sign_off") == {"prompt": "Bye.!"}
    assert held(store, "instructions") == {"prompt": "Use the tools.!"}


@pytest.mark.parametrize(
    ("user", "new", "before", "told"),
    [
        pytest.param(
            "ana",
            [{"name": "sign-off", "prompt": "Bye!"}],
            [{"name": "sign-off", "prompt": "Bye."}],
            "keys must say where prompt 'sign-off'",
            id="a name without a key",
        ),
        pytest.param(
            "ana",
            [*updated(main_agent="Sign."), {"name": "new", "prompt": "x"}],
            prompts(),
            "'new', which is not among",
            id="a name that was not given",
        ),
        pytest.param(
            "ana", updated()[:1] * 2, prompts(), "'main_agent' twice", id="a name that comes twice"
        ),
        pytest.param("ana", [{"name": "main_agent"}], prompts(), r"updated\[0\]", id="no text"),
        pytest.param("ana", ["main_agent"], prompts(), r"updated\[0\]", id="a name alone"),
        pytest.param("ana", None, prompts(), "updated must be a list", id="nothing updated"),
        pytest.param("ana", updated(), "main", "prompts must be a list", id="a text for prompts"),
        pytest.param("a.b", updated(main_agent="S."), prompts(), "'a.b'", id="a user with a dot"),
        pytest.param("", updated(main_agent="S."), prompts(), "user_id", id="no user"),
        pytest.param(
            "tracetune", updated(main_agent="S."), prompts(), "user_id", id="a name that is ours"
        ),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is(
    update: Update, user: str, new: Any, before: Any, told: str
) -> None:
    store = InMemoryStore()
    with pytest.raises(InputError, match=told):
        update(store, user, new, before)
    assert store.list_namespaces() == []


def test_the_example_learns_from_feedback(repo: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(repo / "examples" / "email" / "main.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert "Changed: main_agent, triage-ignore" in lines
    assert lines[3].endswith("Thank you, Tuesday suits me. Best, Ana")
    assert lines[4].endswith("-> ignore")
