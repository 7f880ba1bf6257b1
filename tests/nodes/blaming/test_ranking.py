"""Which prompt or agent the rules blame: on made runs, real logs and labelled sentences."""

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


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((say("b"), say("a"), say("a")), id="acted most often"),
        pytest.param((say("b"), say("a"), call("a"), say("b")), id="made the calls"),
        pytest.param((say("b"), say("a"), call("a", error="no"), call("b")), id="before the error"),
        pytest.param((say("a"), say("a"), say("b"), say("c")), id="opened the run"),
        pytest.param(
            (say("b"), say("a"), say("shell", "exitcode: 1 (execution failed)"), say("b")),
            id="what a terminal answers is a failed call",
        ),
        pytest.param(
            (say("b"), say("A"), say("a"), say("b", "TERMINATE")), id="a farewell is no work"
        ),
        pytest.param((say("b"), Thought("Let me see now.", "a"), call("a")), id="thoughts count"),
    ],
)
def test_an_agent_is_blamed_for(steps: tuple[Step, ...]) -> None:
    blames = rank_prompts([failed(*steps)], ["c", "b", "a"])
    assert blames[0].name == "a"
    assert sum(blame.score for blame in blames) == pytest.approx(1, abs=1e-3)


def test_the_evidence_says_what_an_agent_did_and_in_how_many_runs() -> None:
    runs = [failed(say("b"), call("a", error="no"), id=str(n)) for n in range(4)]
    blame = rank_prompts(runs, ["a", "b"])[0]
    assert blame.name == "a"
    assert "made 100% of the tool calls in failed runs" in blame.evidence
    assert "acted just before the first error in 4 of 4 failed runs" in blame.evidence


@pytest.mark.parametrize("kind", ["user", "infrastructure"])
def test_failures_that_no_prompt_can_prevent_blame_nobody(kind: FailureKind) -> None:
    run = failed(say("a"), call("a", error="rate limit"), kind=kind)
    blames = rank_prompts([run], ["a", "b"])
    assert blames == [Blame("a", 0.0, ()), Blame("b", 0.0, ())]


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


def test_no_prompts_get_no_blame() -> None:
    assert rank_prompts([failed(say("a"))], []) == []


def test_the_guilty_agent_of_real_logs_is_found_as_often_as_promised(shared_data: Path) -> None:
    cases = who_and_when(shared_data)
    rules = hits(cases, by_rules)
    assert rules.n == 126
    assert rules.first / rules.n >= 0.56
    assert rules.second / rules.n >= 0.85
    # The half that nothing was fitted to: no worse there than the best trivial rule.
    unseen = [case for case in cases if half(case) == "report"]
    assert hits(unseen, by_rules).first >= hits(unseen, by_first_error).first


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
