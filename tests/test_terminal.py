"""What people see: numbers, safe text, diffs and reports, at 80 columns."""

import json
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from tracetune.graph.schemas import AgentResult, Change, CycleReport
from tracetune.graph.state import Fallback, ModelCall
from tracetune.nodes.report import spent_on
from tracetune.terminal.diffs import bundle_diff, config_line, prompt_diff, unified
from tracetune.terminal.figures import metrics_block, pattern_table
from tracetune.terminal.report import render_report, render_review, verdict_words
from tracetune.terminal.style import (
    clean,
    duration,
    number,
    one_line,
    output,
    percent,
    percents,
    points,
    print_json,
    probability,
    relative,
)

METRICS = {
    "group": {"agent": "airline"},
    "n": 50,
    "success_rate": 0.38,
    "success_interval": [0.259, 0.518],
    "latency_p50": 48.2,
    "latency_p95": 190.0,
    "attempts_mean": 9.46,
    "reward_mean": -0.004,
    "tools": {
        f"tool_{n}": {"calls": 100 - n, "error_rate": 0.02, "success_rate_when_used": None}
        for n in range(8)
    },
}
PATTERN = {
    "text": "calls transfer_to_human_agents again and again",
    "support": 12,
    "success_with": 0.0,
    "success_without": 0.5,
    "effect": -0.5,
    "interval": [-0.65, -0.21],
    "q_value": 0.0004,
}
POLICY = (
    "# Policy\n\nBe kind.\n" + "A rule that is long enough to be cut at the edge. " * 4 + "\nEnd.\n"
)
CHANGES = [
    Change(
        kind="prompt",
        name="policy",
        before=POLICY,
        after=POLICY + "\n<learned_guidelines>\n- Transfer at most once.\n</learned_guidelines>\n",
        why=["12 runs loop on transfer_to_human_agents."],
        origin="rules",
    ),
    Change(kind="config", name="max_steps", before=200, after=120, why=["Enough."], origin="llm"),
]
RESULT = AgentResult(
    agent="airline",
    outcome="released",
    detail="Two changes.",
    traces=50,
    set_aside=1,
    metrics=METRICS,
    patterns=[PATTERN],
    changes=CHANGES,
    dropped=["a guideline with a link: https://example.com"],
    verdict={"decision": "not enough evidence", "why": "Too few.", "more_needed": 120},
    base="20261121-100000-000-aaaaaa",
    release="20261121-110000-000-bbbbbb",
    files=["out/prompts.yaml"],
)
RULES_NOTE = "No API key for google_genai. This cycle runs on rules alone."


def shown(renderable: RenderableType, *, colour: bool = False) -> str:
    out = StringIO()
    system = "standard" if colour else None
    console = Console(file=out, width=80, highlight=False, color_system=system)
    console.print(renderable)
    return out.getvalue()


def rendered(**given: object) -> RenderableType:
    values: dict[str, object] = {
        "status": "released",
        "summary": "One release.",
        "results": [RESULT],
        "notes": [],
        "fallbacks": [],
        "calls": [],
    }
    return render_report(CycleReport.model_validate(values | given))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param(percent(0.38), "38%", id="a share is a percentage"),
        pytest.param(percent(None), "-", id="an unknown share is not zero"),
        pytest.param(percents([0.259, 0.518]), "26 to 52%", id="an interval of shares"),
        pytest.param(percents(None), "", id="no interval is nothing"),
        pytest.param(points(-0.414, [-0.6, 0.0]), "-41 [-60, 0]", id="an effect is in points"),
        pytest.param(points(None), "-", id="an unknown effect is not zero"),
        pytest.param(points(float("nan")), "-", id="a NaN is unknown"),
        pytest.param(probability(0.0004), "<0.001", id="a tiny q is not rounded to zero"),
        pytest.param(probability(0.0123), "0.012", id="a q value has three decimals"),
        pytest.param(duration(0.42), "420 ms", id="under a second"),
        pytest.param(duration(12.34), "12.3 s", id="seconds"),
        pytest.param(duration(190), "3.2 min", id="minutes"),
        pytest.param(duration(None), "-", id="an unknown time is not zero"),
        pytest.param(number(12345.0), "12,345", id="thousands are set apart"),
        pytest.param(number(100), "100", id="a round number keeps its zeros"),
        pytest.param(number(-0.004, 2), "0", id="no negative zero"),
    ],
)
def test_numbers_read_as_people_write_them(said: str, expected: str) -> None:
    assert said == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("\x1b[31mred", r"\x1b[31mred", id="an escape sequence is spelled out"),
        pytest.param("a\u202eb", r"a\u202eb", id="text direction is spelled out"),
        pytest.param("bell\x07", r"bell\x07", id="a control character is spelled out"),
        pytest.param("tab\tline\n", "tab\tline\n", id="tabs and newlines stay"),
    ],
)
def test_text_of_strangers_cannot_steer_the_terminal(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_one_line_is_one_line() -> None:
    assert one_line("a\n  b\r\n\tc") == "a b c"


def test_a_path_under_this_folder_is_shown_from_here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative(tmp_path / "a" / "b.yaml") == "a/b.yaml"
    assert relative("/elsewhere/b.yaml") == "/elsewhere/b.yaml"


def test_a_path_is_shown_whole_where_this_folder_is_gone(tmp_path, monkeypatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert relative("/elsewhere/b.yaml") == "/elsewhere/b.yaml"


def test_json_is_one_valid_document_even_with_nan(capsys) -> None:
    print_json({"effect": float("nan"), "interval": (0.1, float("inf")), "name": "é"})
    assert json.loads(capsys.readouterr().out) == {
        "effect": None,
        "interval": [0.1, None],
        "name": "é",
    }


def test_a_diff_shows_the_changed_hunk_and_little_else() -> None:
    lines = shown(prompt_diff(POLICY, POLICY + "- New rule.\n")).splitlines()
    assert [line.rstrip() for line in lines] == ["  End.", "+ - New rule."]


def test_context_is_cut_and_a_changed_line_wraps_under_itself() -> None:
    long = "word " * 30
    lines = shown(prompt_diff(f"{long}\nold", f"{long}\n{long}")).splitlines()
    assert lines[0].rstrip().endswith("…")
    assert [line[:6] for line in lines[1:]] == ["- old " + "", "+ word", "  word"]


def test_far_hunks_are_set_apart() -> None:
    before = "\n".join(str(n) for n in range(20))
    text = shown(prompt_diff(before, before.replace("1\n", "one\n", 1) + "\nmore"))
    assert text.count("⋯") == 1


def test_the_words_that_changed_are_marked() -> None:
    text = shown(prompt_diff("keep this word", "keep that word"), colour=True)
    assert "\x1b[1;4;31mthis" in text
    assert "\x1b[1;4;32mthat" in text


def test_a_diff_of_many_like_lines_shows_what_came() -> None:
    """difflib alone would compare each of 20,000 lines with every other: minutes."""
    before = "Be kind.\n" * 20_000
    assert shown(prompt_diff(before, before + "Be brief.\n")).split() == [
        *("Be", "kind."),
        *("+", "Be", "brief."),
    ]
    assert shown(prompt_diff(before + "Go.\n", before)).split() == ["Be", "kind.", "-", "Go."]


@pytest.mark.parametrize("columns", ["20", "40"])
def test_a_narrow_terminal_loses_no_column(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    console = output()
    with console.capture() as captured:
        console.print(pattern_table([PATTERN]))
    assert "again and" in " ".join(captured.get().split())
    assert "-50 [-65, -21]" in captured.get()


def test_a_trailing_newline_is_a_difference() -> None:
    assert shown(prompt_diff("a", "a\n")) != shown(prompt_diff("a", "a"))


def test_a_diff_of_equal_texts_is_empty() -> None:
    assert unified("same", "same") == ""


def test_a_config_change_reads_from_old_to_new() -> None:
    assert config_line("max_steps", 200, None).plain == "config max_steps  200 → not set"


def test_a_bundle_diff_names_only_what_differs() -> None:
    before = {"prompts": {"a": "1", "b": "2"}, "config": {"x": 1, "y": 2}}
    after = {"prompts": {"a": "1", "c": "3"}, "config": {"x": 1, "y": 3}}
    found = bundle_diff(before, after)
    assert list(found["prompts"]) == ["b", "c"]
    assert found["prompts"]["b"]["after"] is None
    assert found["prompts"]["c"]["diff"].endswith("-\n+3")
    assert found["config"] == {"y": {"before": 2, "after": 3}}


def test_metrics_say_what_is_known_and_count_the_tools_left_out() -> None:
    text = shown(metrics_block(METRICS))
    assert "50 runs · success 38% [26 to 52%]" in text
    assert "latency p50 48.2 s, p95 3.2 min · attempts 9.5 · reward 0" in text
    assert "tool_5" in text
    assert "tool_6" not in text
    assert "… and 2 tools used less" in text


@pytest.mark.parametrize(
    ("n", "told"),
    [(0, "About 384 runs on either side would tell."), (50, "About 384 more runs would tell.")],
)
def test_a_verdict_says_of_which_side_runs_are_missing(n: int, told: str) -> None:
    verdict = {"decision": "not enough evidence", "why": "Too few.", "n": n, "more_needed": 384}
    assert verdict_words(verdict) == f"Too few. {told}"


def test_patterns_fit_eighty_columns() -> None:
    text = shown(pattern_table([PATTERN]))
    assert max(map(len, text.splitlines())) <= 80
    assert "0% → 50%" in text
    assert "-50 [-65, -21]" in text
    assert "<0.001" in text


def test_a_report_shows_what_was_found_changed_and_kept() -> None:
    text = shown(rendered())
    for part in (
        "airline  released",
        "1 record that could not be read",
        "prompt policy  by rules",
        "12 runs loop on transfer_to_human_agents.",
        "+ - Transfer at most once.",
        "config max_steps  200 → 120  by the model",
        "a guideline with a link",
        "Too few. About 120 more runs would tell.",
        "20261121-110000-000-bbbbbb (built on 20261121-100000-000-aaaaaa)",
        "yaml      out/",
        "Two changes.",
    ):
        assert part in text, part
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_report_says_what_the_model_saw_and_why_there_is_no_pattern() -> None:
    seen = {"patterns": [], "why_no_patterns": "All 9 runs failed.", "coverage": "2 of 9 failures"}
    result = RESULT.model_copy(update=seen)
    report = CycleReport(
        status="no change", summary="", results=[result], notes=[], fallbacks=[], calls=[]
    )
    told = shown(render_report(report))
    assert "patterns  none: All 9 runs failed." in told
    assert "shown     2 of 9 failures, to the model" in told


def test_a_report_on_rules_says_so_first_and_once() -> None:
    text = shown(rendered(notes=[RULES_NOTE, "Another note."]))
    assert text.startswith(RULES_NOTE)
    assert text.count("rules alone") == 1
    assert "· Another note." in text


CALL = ModelCall(
    branch="b",
    agent="",
    model="gemini",
    tokens_in=1200,
    tokens_out=30,
    seconds=1.5,
    usd=0.001,
    attempt=1,
    error="",
)
UNMETERED = CALL | {"tokens_in": None, "tokens_out": None, "usd": None, "attempt": 2, "error": "e"}
UNPRICED = CALL | {"usd": None, "model": "home-made"}


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        pytest.param(
            [CALL, CALL],
            "2 model calls, 2,400 tokens in, 60 out, $0.0020, 3.0 s",
            id="all is known",
        ),
        pytest.param(
            [CALL, UNMETERED],
            "2 model calls (1 failed, 1 retry), at least 1,200 tokens in, 30 out, "
            "at least $0.0010, 3.0 s",
            id="a call of unknown size makes lower bounds",
        ),
        pytest.param(
            [UNMETERED],
            "1 model call (1 failed, 1 retry), tokens unknown, cost unknown, 1.5 s",
            id="nothing is known",
        ),
        pytest.param(
            [CALL, UNPRICED],
            "2 model calls, 2,400 tokens in, 60 out, cost unknown (no price of home-made), 3.0 s",
            id="a model without a price is named",
        ),
    ],
)
def test_a_report_tells_in_one_line_what_the_calls_took(calls: list[ModelCall], told: str) -> None:
    text = shown(rendered(calls=calls, spent=spent_on(calls)))
    assert text.startswith("Model: gemini")
    assert told in " ".join(text.split())


@pytest.mark.parametrize(
    ("attempts", "told"),
    [
        pytest.param(3, "policy: HTTP 500 after 3 tries; update_by_rules took over", id="tried"),
        pytest.param(0, "policy: HTTP 500; update_by_rules took over", id="not asked at all"),
    ],
)
def test_a_report_tells_what_failed_and_what_took_over(attempts: int, told: str) -> None:
    fallback = Fallback(
        branch="policy", agent="a", error="HTTP 500", attempts=attempts, used="update_by_rules"
    )
    assert told in shown(rendered(fallbacks=[fallback]))


def test_a_report_names_what_a_guard_refused() -> None:
    fallback = Fallback(
        branch="policy",
        agent="a",
        error="what the model proposed broke a rule twice (link)",
        attempts=2,
        used="update_by_rules",
        refused=["link: \x1b[2Jevil.example\nis new"],
    )
    text = " ".join(shown(rendered(fallbacks=[fallback])).split())
    assert "(link) after 2 tries, link: " in text
    assert "evil.example is new; update_by_rules took over" in text
    assert "\x1b" not in text


def test_metrics_say_what_is_not_known() -> None:
    text = shown(metrics_block(METRICS | {"n_known": 40, "terms_left_out": ["latency"]}))
    assert "50 runs (40 with a known outcome)" in text
    assert "reward 0 (without latency)" in text


def test_markup_in_traces_is_shown_and_not_obeyed() -> None:
    pattern = PATTERN | {"text": "says [bold]hello[/bold] \x1b[2J"}
    text = shown(pattern_table([pattern]))
    assert "[bold]hello[/bold]" in text.replace("\n", " ")
    assert "\x1b" not in text


def test_a_review_shows_the_changes_and_the_verdict() -> None:
    candidate = {
        "changes": [change.model_dump() for change in CHANGES],
        "verdict": {"decision": "better", "why": "Better: 9 of 40 tasks gained."},
    }
    text = shown(render_review({"candidates": {"airline": candidate}}))
    assert "+ - Transfer at most once." in text
    assert "Better: 9 of 40 tasks gained." in text


def test_a_verdict_names_its_violations() -> None:
    verdict = {"decision": "worse", "violations": ["too long"]}
    assert verdict_words(verdict) == "worse too long"
