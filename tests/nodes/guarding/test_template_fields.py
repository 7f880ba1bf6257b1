"""What formatted before formats after; what never did may say what it likes in braces."""

from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from langchain_core.prompts import PromptTemplate

from tracetune.nodes.guarding.template_fields import template_violations
from tracetune.stores.yaml_files import read_yaml

HI = "Hi {name}. Be brief."


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        pytest.param(HI, HI + ' Use {"a": 1}.', "no valid f-string", id="JSON in single braces"),
        pytest.param(HI, HI + " Open with { always.", "no valid f-string", id="a lone brace"),
        pytest.param(HI, HI + " Say {yes or no}.", "no valid f-string", id="a choice in braces"),
        pytest.param(
            'Hi {name}. {{"a": 1}}', 'Hi {name}. {"a": 1}', "no valid f-string", id="braces halved"
        ),
        pytest.param('{{"a": 1}}', '{"a": 1}', "no valid f-string", id="halved, without a field"),
        pytest.param('Use {"a": 1}', 'Use {{"a": 1}}', "doubled", id="braces doubled"),
        pytest.param(HI, HI.replace("{name}", "{{name}}"), "lost name", id="a variable escaped"),
        pytest.param(
            "Show {{x}}, {y}", "Show {x}, {y}", "lost {{x}}", id="an escaped one made a variable"
        ),
        pytest.param(HI, HI.replace("{name}", "{{{name}}}"), "invented {{name}}", id="trebled"),
        pytest.param("Cost {x!r}", "Cost {x}", "lost {x!r}", id="a conversion lost"),
        pytest.param("Hi {u.name}", "Hi {u}", "lost {u.name}", id="an attribute lost"),
        pytest.param("Hi {u[name]}", "Hi {u[key]}", "lost {u[name]}", id="another index"),
        pytest.param("At {x:{w}}", "At {x}", "lost w", id="a field in a format lost"),
        pytest.param("Hi {} of {}", "Hi {}", "lost {1}", id="a numbered field lost"),
        pytest.param("Hi { user }.", "Hi.", "lost { user }", id="blanks in the braces"),
        pytest.param("Hi {user-name}.", "Hi.", "lost user-name", id="a hyphen in the name"),
        pytest.param("Hi %(user)s.", "Hi.", "lost %(user)s", id="a variable of %"),
        pytest.param("Hi.", "Hi %(user)s.", "invented %(user)s", id="one of % invented"),
        pytest.param("Hi $user.", "Hi.", "lost $user", id="a variable of string.Template"),
        pytest.param(
            "Hi {n}. Return {'a': {'b': 1}}.", "Return {'a': {'b': 1}}.", "lost n", id="beside JSON"
        ),
        pytest.param(
            "{% if vip %}Be nice.{% endif %} Hi {{ x }}",
            "Be nice. Hi {{ x }}",
            "lost {% endif %}, {% if vip %}",
            id="a condition lost",
        ),
        pytest.param(
            "{% for o in all %}{{ o }}{% endfor %}",
            "{{ o }}",
            "lost {% endfor %}",
            id="a loop lost",
        ),
        pytest.param(
            "{% if a %}x{% endif %}",
            "{% if not a %}x{% endif %}",
            "lost {% if a %}",
            id="a condition turned",
        ),
        pytest.param("{{#vip}}x{{/vip}}", "x", "lost {{#vip}}, {{/vip}}", id="a section lost"),
        pytest.param("{{#a}}x{{/a}}", "{{^a}}x{{/a}}", "lost {{#a}}", id="a section inverted"),
        pytest.param("Hi {{ x|upper }}", "Hi {{ x }}", "lost {{x|upper}}", id="a filter lost"),
    ],
)
def test_in_auto_what_was_filled_in_stays_so(before: str, after: str, told: str) -> None:
    found = template_violations(before, after, "auto")
    assert any(told in text for _, text in found), found


@pytest.mark.parametrize(
    ("before", "after", "form", "told"),
    [
        pytest.param("Hi {u.name}", "Hi {u}", "f-string", "lost {u.name}", id="an attribute"),
        pytest.param("Cost {x:.2f}", "Cost {x}", "f-string", "lost {x:.2f}", id="a format"),
        pytest.param("Hi {u}", "Hi {u} {{key}}", "f-string", "invented {{key}}", id="left over"),
        pytest.param(
            "{% if v %}To {{ v }}.{% endif %} Hi {{ x }}",
            "To {{ v }}. Hi {{ x }}",
            "jinja2",
            "lost {% endif %}",
            id="a condition whose variable stays",
        ),
        pytest.param(
            "{{ u.a }} {{ u.b }}", "{{ u.a }}", "jinja2", "lost {{u.b}}", id="one of two outputs"
        ),
        pytest.param(
            "Hi {{u}}", "Hi {{{u}}}", "mustache", "lost {{u}}", id="mustache no more escaped"
        ),
        pytest.param(
            "{{#a}}x{{/a}} {{b}}", "{{^a}}x{{/a}} {{b}}", "mustache", "lost {{#a}}", id="inverted"
        ),
        pytest.param(
            "Hi {{ x }}",
            "Hi {{ x }} {{ ''.__class__" + " " * 900 + "}}",
            "jinja2",
            "new code",
            id="code with a long gap",
        ),
    ],
)
def test_what_a_syntax_asks_for(before: str, after: str, form: Any, told: str) -> None:
    found = template_violations(before, after, form)
    assert any(told in text for _, text in found), found


@pytest.mark.parametrize(
    ("before", "after", "form"),
    [
        pytest.param("Be brief.", 'Use {"a": {"b": 1}}.', "auto", id="the first JSON of a text"),
        pytest.param('Use {"a": 1}.', 'Use {"a": {"b": 1}}.', "auto", id="more JSON beside JSON"),
        pytest.param('Use {"a": 1}.', "Use JSON.", "auto", id="JSON no more"),
        pytest.param(
            'Hi {n}. {"a": 1}', 'Hi {n}. {"a": 1, "b": {}}', "auto", id="a field beside raw JSON"
        ),
        pytest.param('Hi {n}. {{"a": 1}}', 'Oh {n}. {{"a": {{}}}}', "auto", id="JSON in doubled"),
        pytest.param("Hi {n}", 'Hi {n}. {{"a": 1}}', "auto", id="the first doubled JSON"),
        pytest.param("Hi {n}", 'Hi {n}. {{"a": 1}}', "f-string", id="the same in an f-string"),
        pytest.param("Hi {n}", "Hi {n}, {n}", "auto", id="a variable twice"),
        pytest.param("{a} {b}", "{b} {a}", "auto", id="another order"),
        pytest.param(
            "{d:%H:%M %d.%m.} {x:,.2f}", "{x:,.2f} {d:%H:%M %d.%m.}", "auto", id="formats"
        ),
        pytest.param(
            "{answer: text, why: text}", "{answer: text, why: word}", "auto", id="JSON in outline"
        ),
        pytest.param("{% if a %}x{% endif %}", "{%- if  a -%}y{% endif %}", "auto", id="blanks"),
        pytest.param("{{ x | upper }}", "Oh {{x|upper}}", "jinja2", id="blanks in an output"),
        pytest.param("{{#a}}x{{/a}}", "{{# a }}y{{/ a }}", "mustache", id="blanks in a section"),
        pytest.param("Pay 5 $ or $5.", "Pay $6, or 100 % in $HOME.", "auto", id="money and shells"),
        pytest.param("Run ${HOME}/x.", "Run ${HOME}/y.", "auto", id="a variable of a shell"),
        pytest.param("Go {on", "Go {on and on", "auto", id="a text that nothing can fill in"),
    ],
)
def test_harmless_changes_are_none(before: str, after: str, form: Any) -> None:
    assert template_violations(before, after, form) == []


def test_prompts_of_stratus_that_are_filled_in_still_are(shared_data: Path) -> None:
    filled, raw = 0, 0
    for file in sorted((shared_data / "stratus").glob("configs*/*_agent_prompts.yaml")):
        for text in read_yaml(file).values():
            fields = {name for _, name, _, _ in Formatter().parse(text) if name}
            after = f'{text}\nAnswer as {{"answer": "..."}}.'
            found = template_violations(text, after, "auto")
            assert bool(found) is bool(fields), text[:60]
            assert template_violations(text, f"{text}\nBe careful.", "auto") == []
            filled, raw = filled + bool(fields), raw + (not fields)
    assert filled >= 9
    assert raw >= 8


def test_a_template_of_langchain_that_passes_is_filled_in_by_langchain() -> None:
    before = 'Hi {name}. Return {{"a": 1}}.'
    after = 'Dear {name}: return {{"a": 1, "b": 2}}. Be kind.'
    assert template_violations(before, after, "auto") == []
    assert PromptTemplate.from_template(after).format(name="Bo") == (
        'Dear Bo: return {"a": 1, "b": 2}. Be kind.'
    )
