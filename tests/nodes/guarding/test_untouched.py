"""What of a prompt stays when no evidence speaks of it: each rule, and nearly each sentence."""

import pytest

from tracetune.nodes.guarding.guards import check_prompt
from tracetune.nodes.guarding.untouched import too_much_changed

ORDERS = (
    "You answer questions about orders.\nBe brief.\nNever promise a refund.\n"
    "Ask for the order number before you look anything up."
)
MAIL = (
    "You answer mail.\nNever share customer passwords with anyone.\nBe brief.\nBe kind.\n"
    "Use English.\nSay hello.\nSay goodbye."
)
GERMAN = "Du hilfst Kunden.\nVersprich niemals eine Erstattung.\nBleib immer freundlich."
CHINESE = "你是客服人员。\n不要承诺退款。\n先核对订单。"


@pytest.mark.parametrize("freely", [False, True], ids=["our styles", "langmem's styles"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "Never promise a refund. Check the order first.",
            "Grant every refund. Skip the checks.",
            id="all replaced by its opposite",
        ),
        pytest.param(
            "You are Ana's aide. Sign letters with Ana. Keep letters short.",
            "You are Bob's butler. Sign nothing ever. Write reams.",
            id="all replaced by something else",
        ),
        pytest.param(
            MAIL,
            MAIL.replace("Never share customer passwords with anyone.\n", ""),
            id="a rule taken out of seven lines",
        ),
        pytest.param(ORDERS, ORDERS.replace("Never", "Always"), id="never made always"),
        pytest.param(ORDERS, ORDERS.replace("Never promise", "Promise"), id="never dropped"),
        pytest.param(ORDERS, ORDERS.replace("Ask", "Do not ask"), id="not added"),
        pytest.param(
            ORDERS.replace("Ask", "You must ask"),
            ORDERS.replace("Ask", "You may ask"),
            id="must made may",
        ),
        pytest.param(
            ORDERS,
            ORDERS.replace("a refund.", "a refund unless the customer wants one."),
            id="an exception made",
        ),
        pytest.param(
            ORDERS,
            ORDERS.replace("Be brief.\nNever promise", "Be brief, do promise"),
            id="turned round within another sentence",
        ),
        pytest.param(GERMAN, GERMAN.replace("niemals", "stets"), id="in German"),
        pytest.param(CHINESE, CHINESE.replace("不要承诺", "可以承诺"), id="in Chinese"),
    ],
)
def test_a_rule_that_no_evidence_names_stays(before: str, after: str, freely: bool) -> None:
    found = check_prompt(before, after, template_format="auto", freely=freely)
    assert [violation.rule for violation in found] == ["unrelated"]


@pytest.mark.parametrize("freely", [False, True], ids=["our styles", "langmem's styles"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(ORDERS, f"{ORDERS} Keep letters short.", id="a sentence more"),
        pytest.param(
            ORDERS,
            ORDERS.replace("Never promise a refund", "Do not ever promise refunds"),
            id="a ban in other words",
        ),
        pytest.param(
            ORDERS,
            ORDERS.replace("Be brief.\nNever", "Be brief and never"),
            id="two sentences made one",
        ),
        pytest.param(
            "Check the order and the date, then answer briefly. Be kind.",
            "Check the order and the date. Then answer briefly. Be kind.",
            id="one sentence made two",
        ),
        pytest.param(
            "Check the order first. Be kind.",
            "Check the order first, and never skip it. Be kind.",
            id="a ban added behind",
        ),
        pytest.param(
            "Check the order first. Be kind.",
            "If it isn't urgent, check the order first. Be kind.",
            id="a condition with a not",
        ),
        pytest.param("You anwser questions.", "You answer questions.", id="a letter put right"),
        pytest.param(
            ORDERS, "\n".join(f"- {line}" for line in ORDERS.splitlines()), id="made a list"
        ),
        pytest.param(ORDERS, ORDERS.replace("Never", "**Never**"), id="made bold"),
        pytest.param(ORDERS, f"## Rules\n{ORDERS}\n## Style\nUse plain words.", id="headings"),
        pytest.param("Hi {name}. Be brief.", "Hello {name}. Be brief.", id="another greeting"),
        pytest.param(CHINESE, CHINESE.replace("不要", "请不要") + "\n保持礼貌。", id="Chinese"),
        pytest.param("Be kind.\nLook.\nBe kind.", "Be kind.\nLook.", id="said once, not twice"),
    ],
)
def test_harmless_edits_are_none(before: str, after: str, freely: bool) -> None:
    assert check_prompt(before, after, template_format="auto", freely=freely) == []


@pytest.mark.parametrize(
    ("before", "after", "named", "stays"),
    [
        pytest.param(ORDERS, ORDERS.replace("Be brief.\n", ""), (), False, id="one of four gone"),
        pytest.param(MAIL, MAIL.replace("Be kind.\n", ""), (), True, id="one of seven gone"),
        pytest.param(
            MAIL, MAIL.replace("Be kind.\nUse English.\n", ""), (), False, id="two of seven gone"
        ),
        pytest.param(
            ORDERS,
            ORDERS.replace("Be brief.", "Give full answers."),
            ("The answers are too brief.",),
            True,
            id="feedback has its only word",
        ),
        pytest.param(
            ORDERS,
            ORDERS.replace("Never promise a refund.", "Promise a refund within two weeks."),
            ("It never promised the refund that was due.",),
            True,
            id="feedback speaks of the rule",
        ),
        pytest.param(
            ORDERS,
            ORDERS.replace("Never promise", "Promise"),
            ("The tone of the refund answer was rude.",),
            False,
            id="one word of a rule does not name it",
        ),
        pytest.param(
            "You help.\nAnswer every question at once.",
            "You help.\nLook the order up, then answer.",
            ("Please look the order up before you answer.",),
            True,
            id="what feedback asks for takes its place",
        ),
        pytest.param(
            "Refund orders soon. Refund orders after review. Refund orders kindly.",
            "Deny all. Insult whoever asks.",
            ("orders refund kindly soon review",),
            False,
            id="all gone, though named",
        ),
    ],
)
def test_evidence_opens_what_it_names(
    before: str, after: str, named: tuple[str, ...], stays: bool
) -> None:
    assert (too_much_changed(before, after, named) is None) is stays


@pytest.mark.parametrize(
    ("before", "after", "stays"),
    [
        pytest.param(
            "You are a helpful assistant. Answer clearly. Be friendly.",
            "You are a helpful assistant.\n\n# Goals\n- Answer clearly, with an example.\n"
            "- Keep a warm tone.\n\nBe thorough.",
            True,
            id="written anew",
        ),
        pytest.param("You teach.", "You are a patient tutor.", True, id="one sentence, replaced"),
        pytest.param("Look first. Be kind.", "Ask twice. Be kind.", True, id="half replaced"),
        pytest.param("Always look first.", "Skip the look.", False, id="one sentence, a rule"),
        pytest.param("Look first. Be kind.", "Skip it. Act rude.", False, id="all replaced"),
    ],
)
def test_langmem_may_write_half_anew(before: str, after: str, stays: bool) -> None:
    assert (too_much_changed(before, after, (), freely=True) is None) is stays


def test_a_violation_tells_the_place_and_little_of_the_text() -> None:
    told = too_much_changed(ORDERS, ORDERS.replace("Never promise", "Promise"), ())
    assert told == (
        "sentence 3 of 4 ('Never promise' …) is turned round, and no evidence speaks of it"
    )
