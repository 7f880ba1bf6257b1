"""Which prompt or agent the rules blame: on made runs, real logs and labelled sentences."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blame import by_first_error, by_rules, email_cases, half, hits, ngram_embedding, who_and_when

from tracetune.errors import InputError
from tracetune.nodes.blaming.culprits import who_failed
from tracetune.nodes.blaming.ranking import Blame, rank_prompts
from tracetune.traces.model import FailureKind, Message, Step, Thought, ToolCall, Trace

SENTENCES = Path(__file__).parent / "email_feedback.yaml"


def say(agent: str, text: str = "I will look into that.") -> Message:
    return Message("assistant", text, agent=agent)


def call(agent: str | None, name: str = "search", error: str | None = None) -> ToolCall:
    return ToolCall(name, error=error, agent=agent)


def failed(*steps: Step, id: str = "t", kind: FailureKind = "unknown") -> Trace:
    return Trace(id, "team", success=False, steps=steps, failure_kind=kind)


def prompt(name: str, text: str = "Be kind.", when: str = "") -> dict[str, str]:
    return {"name": name, "prompt": text, "when_to_update": when}


SHELL_FAILS = "exitcode: 1 (execution failed)"


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((say("b"), say("a", "I will look into that, and tell you.")), id="wrote most"),
        pytest.param(
            (say("b"), ToolCall("search", {"query": "what was asked for"}, agent="a")),
            id="wrote most, of arguments",
        ),
        pytest.param(
            (say("b"), Thought("Let me see into that.", "a"), call("a")), id="thought most"
        ),
        pytest.param((say("b"), say("A"), say("a")), id="wrote most, under two spellings"),
        pytest.param((say("b"), call("a", error="no"), call("b")), id="before the first error"),
        pytest.param(
            (say("b"), ToolCall("search", result="[]", agent="a"), call("b", error="no")),
            id="before the first empty result",
        ),
        pytest.param((say("b"), say("a"), say("shell", SHELL_FAILS)), id="what a terminal refused"),
        pytest.param(
            (say("b"), say("a"), say("shell", "exitcode: 0\nCode output: []\n")),
            id="what a terminal ran for nothing",
        ),
        pytest.param((say("b"), say("a", "It was sold for 850,000.")), id="a figure from nowhere"),
    ],
)
def test_an_agent_is_blamed_for(steps: tuple[Step, ...]) -> None:
    blames = rank_prompts([failed(*steps)], ["c", "b", "a"], patterns=())
    assert blames[0].name == "a"
    assert blames[0].score > blames[1].score > blames[2].score == 0
    assert sum(blame.score for blame in blames) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param((Message("user", "Is it 42?"),), id="the user"),
        pytest.param((say("b", "Is it 42?"),), id="the first step, which is the task"),
        pytest.param((say("c"), ToolCall("ask", result="it is 42", agent="b")), id="a tool"),
        pytest.param((say("c"), ToolCall("ask", {"x": 42}, agent="b")), id="arguments of a call"),
        pytest.param((say("c"), say("b"), say("shell", "output: 42")), id="a terminal"),
        pytest.param((say("c"), say("b", "```\nx = 42\n```")), id="code"),
    ],
)
def test_figures_that_were_given_before_are_not_held_against_who_repeats_them(
    before: tuple[Step, ...],
) -> None:
    found = who_failed([failed(*before, say("a", "It is 42."))], ["a", "b", "c"])
    assert not any("figures" in phrase for phrase in found.evidence["a"])


def test_figures_that_a_tool_was_asked_about_are_no_claims() -> None:
    run = failed(say("b"), say("a", "Is it 42?"), say("shell", "output: no"))
    assert not any("figures" in phrase for phrase in who_failed([run], ["a", "b"]).evidence["a"])


def test_the_evidence_says_what_an_agent_did_and_in_how_many_runs() -> None:
    runs = [failed(say("b"), call("a", error="no"), id=str(n)) for n in range(4)]
    blame = rank_prompts(runs, ["a", "b"])[0]
    assert blame.name == "a"
    assert blame.evidence == (
        "acted just before the first error or empty result in 4 of 4 failed runs",
        "acted in 4 of 4 failed runs",
    )


@pytest.mark.parametrize("agents", range(1, 11))
def test_failures_of_any_number_of_agents_are_shared_out_whole(agents: int) -> None:
    names = [f"agent {n}" for n in range(agents)]
    steps = [step for name in names for step in (say(name), call(name))]
    ranked = rank_prompts([failed(*steps, call(names[-1], error="no"))], names, patterns=())
    assert ranked[0].name == names[-1]
    assert all(blame.score > 0 for blame in ranked)
    assert sum(blame.score for blame in ranked) == pytest.approx(1, abs=1e-3)


def test_neither_the_agents_names_nor_the_order_they_are_given_in_matters(
    shared_data: Path,
) -> None:
    for case in who_and_when(shared_data)[:20]:
        names = [str(name) for name in case.prompts]
        aliases = {name: f"x{n}" for n, name in enumerate(names)}
        steps = tuple(
            replace(step, agent=aliases.get(step.agent or "", step.agent))
            for step in case.trace.steps
        )
        shares = who_failed([case.trace], names).shares
        renamed = who_failed([replace(case.trace, steps=steps)], list(aliases.values())[::-1])
        assert {aliases[name]: share for name, share in shares.items()} == renamed.shares


@pytest.mark.parametrize("kind", ["user", "infrastructure"])
def test_failures_that_no_prompt_can_prevent_blame_nobody(kind: FailureKind) -> None:
    run = failed(say("a"), call("a", error="rate limit"), kind=kind)
    blames = rank_prompts([run], ["a", "b"])
    assert blames == [Blame("a", 0.0, ()), Blame("b", 0.0, ())]


def test_a_run_that_its_host_refused_blames_nobody_where_no_kind_is_given() -> None:
    run = replace(failed(say("a"), call("a")), labels={"error": "429 Too Many Requests"})
    assert run.failure_kind == "unknown"
    assert [blame.score for blame in rank_prompts([run], ["a", "b"])] == [0.0, 0.0]


@pytest.mark.parametrize("success", [True, None], ids=["succeeded", "unknown"])
def test_a_run_that_did_not_fail_blames_nobody_for_acting(success: bool | None) -> None:
    run = Trace("t", "team", success=success, steps=(say("a"), call("a", error="no")))
    assert [blame.score for blame in rank_prompts([run], ["a", "b"])] == [0.0, 0.0]


def test_steps_without_an_agent_are_the_run_s_own_but_a_user_s_are_nobody_s() -> None:
    mine = failed(
        Message("user", "Please do that for me."), ToolCall("x", by="user"), ToolCall("x")
    )
    found = who_failed([mine], ["team", "other"])
    assert found.shares == {"team": 1.0, "other": 0.0}
    assert who_failed([mine], ["team"], by_step_only=True).runs == 0


def test_a_prompt_with_its_only_agent_s_name_is_not_blamed_for_every_failure() -> None:
    run = failed(say("writer"), call("writer"))
    ranked = rank_prompts([run], [prompt("writer"), prompt("style")], patterns=())
    assert [blame.score for blame in ranked] == [0.0, 0.0]


def test_prompts_named_as_the_agents_of_a_run_are_told_apart_by_what_those_did() -> None:
    run = failed(say("planner"), call("web-surfer", error="no"), call("web-surfer"))
    ranked = rank_prompts([run], [prompt("planner"), prompt("web_surfer")], patterns=())
    assert ranked[0].name == "web_surfer"
    assert 0 < ranked[1].score < ranked[0].score < 1


def runs_with_errors(successes: int) -> list[Trace]:
    """Ten failed runs with an error of `book`, and successful ones with the same."""
    steps = (ToolCall("book", error="sold out"),)
    lost = [Trace(f"f{n}", "a", success=False, steps=steps) for n in range(10)]
    return lost + [Trace(f"s{n}", "a", success=True, steps=steps) for n in range(successes)]


def test_a_tool_s_errors_speak_against_the_prompt_that_speaks_of_it() -> None:
    texts = [prompt("greet", "Say hello."), prompt("sell", "Use book for seats.")]
    ranked = rank_prompts(runs_with_errors(0), texts)
    assert (ranked[0].name, ranked[1].score) == ("sell", 0.0)
    assert ranked[0].evidence == ("`book`, which it speaks of, failed in 10 of 10 failed runs",)


def test_errors_that_successful_runs_have_too_speak_against_nothing() -> None:
    ranked = rank_prompts(runs_with_errors(10), [prompt("sell", "Use book for seats.")])
    assert ranked == [Blame("sell", 0.0, ())]


def test_a_tool_is_spoken_of_only_as_a_whole_word() -> None:
    ranked = rank_prompts(runs_with_errors(0), [prompt("sell", "Read the handbook.")])
    assert ranked[0].score == 0


def test_feedback_on_several_prompts_is_shared_among_them() -> None:
    told = [
        Trace("1", "mail", feedback="Newsletters again!"),
        Trace("2", "mail", feedback={"comment": "That newsletter"}),
        Trace("3", "mail", feedback="too many emojis"),
        Trace("4", "mail", success=True, feedback="emojis emojis emojis"),
    ]
    texts = [prompt("tone", when="emojis are used"), prompt("skip", when="newsletters get through")]
    ranked = rank_prompts(told, texts)
    assert [blame.name for blame in ranked] == ["skip", "tone"]
    assert ranked[0].evidence == ("2 of 3 texts of feedback match it best",)


def told(text: str, success: bool | None = None) -> Trace:
    """A run of two agents, in which `surf` came upon an error, and what was said of it."""
    steps = (say("plan"), call("surf", error="no"))
    return Trace("t", "team", success=success, feedback=text, steps=steps)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        pytest.param("The plan agent was slow.", "plan", id="who is named"),
        pytest.param("Wrong web pages.", "surf", id="who the words fit"),
        pytest.param("Wrong answers in the tables.", "surf", id="who erred, where words fit both"),
    ],
)
def test_feedback_on_a_run_of_unknown_outcome_goes_by_its_words_and_by_the_run(
    text: str, first: str
) -> None:
    texts = [prompt("plan", "Answers, tables."), prompt("surf", "Answers, tables, web pages.")]
    ranked = rank_prompts([told(text)], texts, patterns=())
    assert ranked[0].name == first
    assert 0 < ranked[1].score < ranked[0].score
    assert sum(blame.score for blame in ranked) == pytest.approx(1, abs=1e-3)


def test_feedback_that_matches_nothing_blames_nobody_for_a_run_of_unknown_outcome() -> None:
    ranked = rank_prompts([told("Splendid!")], [prompt("plan"), prompt("surf")], patterns=())
    assert [blame.score for blame in ranked] == [0.0, 0.0]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"prompt": "Be kind."}, id="no name"),
        pytest.param({"name": "a"}, id="no text"),
        pytest.param({"name": "a", "prompt": None}, id="a text that is none"),
    ],
)
def test_a_prompt_without_name_or_text_is_refused(bad: Any) -> None:
    with pytest.raises(InputError, match="must have a name and a prompt"):
        rank_prompts([], [bad])


def test_prompts_may_be_given_as_memory_has_them() -> None:
    told = [failed(call("a", "refund", error="no"), id=f"{n}") for n in range(3)]
    texts = {"main": "Be kind.", "refunds": "Call refund."}

    ranked = rank_prompts(told, texts)

    assert ranked == rank_prompts(told, [prompt(name, text) for name, text in texts.items()])
    assert ranked[0].name == "refunds"
    assert ranked[0].score > 0
    with pytest.raises(InputError, match="must have a name and a prompt"):
        rank_prompts(told, {"main": 5})  # type: ignore[dict-item]


@pytest.mark.parametrize("odd", [[{"id": "1", "agent": "a"}], "runs.jsonl", None])
def test_what_is_no_trace_is_refused(odd: Any) -> None:
    with pytest.raises(InputError, match=r"is no trace|^traces is "):
        rank_prompts(odd, ["a"])


def test_no_prompts_get_no_blame() -> None:
    assert rank_prompts([failed(say("a"))], []) == []


def test_the_guilty_agent_of_real_logs_is_found_as_often_as_promised(shared_data: Path) -> None:
    cases = who_and_when(shared_data)
    unseen = [case for case in cases if half(case) == "report"]
    for chosen, n in ((cases, 126), (unseen, 66)):
        rules = hits(chosen, by_rules)
        assert rules.n == n
        assert rules.first / n >= 0.56
        assert rules.second / n >= 0.85
        assert rules.first > hits(chosen, by_first_error).first


def test_what_people_said_of_real_logs_makes_the_rules_right_more_often(shared_data: Path) -> None:
    told = hits(who_and_when(shared_data, told=True), by_rules)
    assert told.first > hits(who_and_when(shared_data), by_rules).first


def test_the_prompt_that_feedback_is_about_is_found_twice_as_often_as_by_chance() -> None:
    cases = email_cases(SENTENCES)
    unseen = hits([case for case in cases if half(case) == "report"], by_rules)
    # One in four is chance.
    assert unseen.first / unseen.n >= 0.45
    assert unseen.second / unseen.n >= 0.6


def test_most_sentences_share_no_word_with_the_prompts_names() -> None:
    cases = email_cases(SENTENCES)
    names = {"main", "agent", "triage", "ignore", "notify", "respond"}
    free = [case for case in cases if not names & set(case.trace.id.casefold().split())]
    assert len(cases) >= 80
    assert len(free) / len(cases) > 0.9


def test_an_embedding_function_is_asked_and_heard() -> None:
    asked: list[str] = []

    def embed(texts: Any) -> list[list[float]]:
        asked.extend(texts)
        return ngram_embedding(texts)

    told = [Trace("1", "mail", feedback="mailshots")]
    texts = [prompt("reply"), prompt("skip", "mailshot")]
    alone = {blame.name: blame.score for blame in rank_prompts(told, texts)}
    both = {blame.name: blame.score for blame in rank_prompts(told, texts, embed=embed)}
    assert asked == ["mailshots", "reply\n\nBe kind.", "skip\n\nmailshot"]
    assert alone["reply"] == 0 < both["reply"] < both["skip"]
