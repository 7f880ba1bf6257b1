"""A rule stays under the conditions that it had, and harmless changes beside sections pass."""

from collections.abc import Sequence

import jinja2
import pytest

from tracetune.nodes.guarding import template_sections
from tracetune.nodes.guarding.guards import check_prompt
from tracetune.nodes.guarding.likeness import Read, Stands, stands
from tracetune.nodes.guarding.template_fields import (
    TemplateFormat,
    misplaced,
    template_violations,
)
from tracetune.nodes.guarding.template_sections import moved
from tracetune.nodes.guarding.template_tags import in_braces

VIP = "{% if vip %}Treat them as VIP.{% endif %}"
RULE = "Never give refunds."
MOVED = [
    pytest.param(
        f"{VIP} {RULE}",
        f"{{% if vip %}}Treat them as VIP. {RULE}{{% endif %}}",
        "jinja2",
        RULE,
        id="the end of a section moved",
    ),
    pytest.param(
        f"{VIP} {RULE}",
        "{% if vip %}Treat them as VIP. Please never give any refunds.{% endif %}",
        "jinja2",
        RULE,
        id="in other words",
    ),
    pytest.param(
        f"{VIP} {RULE}",
        f"{{% if vip %}}{RULE} Treat them as VIP.{{% endif %}}",
        "auto",
        RULE,
        id="in an unknown syntax",
    ),
    pytest.param(
        "{{#vip}}Treat as VIP.{{/vip}} Never lie.",
        "{{#vip}}Treat as VIP. Never lie.{{/vip}}",
        "mustache",
        "Never lie.",
        id="mustache",
    ),
    pytest.param(
        "{{^vip}}Never lie.{{/vip}}{{#vip}}Be kind.{{/vip}}",
        "{{^vip}}{{/vip}}{{#vip}}Never lie. Be kind.{{/vip}}",
        "mustache",
        "Never lie.",
        id="from an inverted section",
    ),
    pytest.param(
        f"{{{{ rules }}}}\n{VIP}",
        "{% if vip %}{{ rules }} Treat them as VIP.{% endif %}",
        "jinja2",
        "{{rules}}",
        id="a variable",
    ),
    pytest.param(
        f"{{% include 'rules' %}} {VIP}",
        "{% if vip %}{% include 'rules' %} Treat them as VIP.{% endif %}",
        "auto",
        "{% include 'rules' %}",
        id="what is included",
    ),
    pytest.param(
        f"{{% if vip %}}Be kind.{{% elif known %}}{RULE}{{% else %}}Ask who.{{% endif %}}",
        f"{{% if vip %}}Be kind.{{% elif known %}}{{% else %}}{RULE} Ask who.{{% endif %}}",
        "jinja2",
        RULE,
        id="to another branch",
    ),
    pytest.param(
        f"{{% for o in all %}}Show {{{{ o }}}} now.{{% endfor %}} {RULE}",
        f"{{% for o in all %}}Show {{{{ o }}}} now. {RULE}{{% endfor %}}",
        "jinja2",
        RULE,
        id="into a loop",
    ),
    pytest.param(
        f"{{% if a %}}Be kind.{{% endif %}}{{% if b %}}{RULE}{{% endif %}}",
        f"{{% if a %}}Be kind.{{% if b %}}{RULE}{{% endif %}}{{% endif %}}",
        "jinja2",
        RULE,
        id="a section into another",
    ),
    pytest.param(
        f"{{% if vip %}}{RULE}{{% endif %}} Be kind.",
        f"{{% if vip %}}{{% endif %}} {RULE} Be kind.",
        "jinja2",
        RULE,
        id="out of a section",
    ),
    pytest.param(
        f"{RULE} {{% if vip %}}{RULE}{{% endif %}}",
        f"{{% if vip %}}{RULE}{{% endif %}}",
        "jinja2",
        RULE,
        id="left in the section alone",
    ),
    pytest.param(
        f"{{% if(vip) %}}Treat them as VIP.{{% endif %}} {RULE}",
        f"{{% if(vip) %}}Treat them as VIP. {RULE}{{% endif %}}",
        "jinja2",
        RULE,
        id="no blank before the bracket of an if",
    ),
    pytest.param(
        f"{{% call(u) f() %}}Treat them as VIP.{{% endcall %}} {RULE}",
        f"{{% call(u) f() %}}Treat them as VIP. {RULE}{{% endcall %}}",
        "jinja2",
        RULE,
        id="no blank before the bracket of a call",
    ),
    pytest.param(
        f"{{% if a %}}Be kind.{{% elif(b) %}}{RULE}{{% endif %}}",
        f"{{% if a %}}{RULE} Be kind.{{% elif(b) %}}{{% endif %}}",
        "jinja2",
        RULE,
        id="no blank before the bracket of a branch",
    ),
    pytest.param(
        f"{{% set x | replace(old='a') %}}Be kind.{{% endset %}} {RULE}",
        f"{{% set x | replace(old='a') %}}Be kind. {RULE}{{% endset %}}",
        "jinja2",
        RULE,
        id="into what is filtered and kept",
    ),
]


@pytest.mark.parametrize(("before", "after", "form", "what"), MOVED)
def test_what_stands_under_other_conditions_is_named(
    before: str, after: str, form: str, what: str
) -> None:
    assert moved(before, after, form) == what
    assert moved(before, before, form) is None


def test_a_rule_that_some_would_no_longer_be_told_is_refused() -> None:
    before, after = (f"Hi {{{{ n }}}}. {text}" for text in MOVED[0].values[:2])

    told = [jinja2.Template(text).render(n="J", vip=False) for text in (before, after)]
    found = check_prompt(before, after, template_format="jinja2")

    assert [RULE in text for text in told] == [True, False]
    assert [violation.rule for violation in found] == ["template"]
    assert found[0].text == "'Never give' … stands in other sections of the template than before"


@pytest.mark.parametrize(
    ("before", "after", "form"),
    [
        pytest.param(
            f"Hi {{{{ n }}}}. {VIP} {RULE}",
            f"Never ever give refunds. Hello {{{{ n }}}}! {VIP}",
            "jinja2",
            id="in other words, before the section",
        ),
        pytest.param(
            f"{{% if a %}}Be kind.{{% endif %}} {VIP}",
            f"{VIP} {{% if a %}}Be kind.{{% endif %}}",
            "jinja2",
            id="sections in another order",
        ),
        pytest.param(
            f"{RULE} {VIP}",
            f"{RULE}\n{{%- if vip -%}}\nTreat them as VIP.\nBe quick.\n{{%- endif %}}",
            "jinja2",
            id="blanks, and a new sentence",
        ),
        pytest.param(
            f"{RULE} {{% if vip %}}{RULE}{{% endif %}}",
            f"{RULE} {{% if vip %}}{{% endif %}}",
            "jinja2",
            id="said twice, now once for all",
        ),
        pytest.param(
            "Hi {{ n }}. {% if vip %}Thank {{ n }}.{% endif %}",
            "Hi {{ n }}. {% if vip %}Thank them.{% endif %} Bye {{ n }}.",
            "jinja2",
            id="a variable less often, and more",
        ),
        pytest.param(
            "Use {% raw %}{% if %}{% endraw %} so. Be kind to all.",
            "Be kind to all. Use {% raw %}{% if %}{% endraw %} so.",
            "auto",
            id="raw text",
        ),
        pytest.param(
            "{% endif %} Be kind. {% %}", "{% endif %} Be so kind. {% %}", "auto", id="ends"
        ),
        pytest.param(
            "{% set x = 1 %}Be kind. {% if x %}Go on.{% endif %}",
            "{% set x = 1 %}Be kind. Ask first. {% if x %}Go on.{% endif %}",
            "jinja2",
            id="what opens nothing",
        ),
    ],
)
def test_harmless_changes_beside_sections_are_none(before: str, after: str, form: str) -> None:
    assert template_violations(before, after, form) == []  # type: ignore[arg-type]
    assert misplaced(before, after, form) is None  # type: ignore[arg-type]


def test_text_that_nothing_fills_in_has_no_sections() -> None:
    after = f"{{% if vip %}}Treat them as VIP. {RULE}{{% endif %}}"
    assert misplaced(f"{VIP} {RULE}", after, "none") is None


def test_sections_between_other_delimiters_of_mustache_are_seen() -> None:
    before = "{{=<% %>=}}Fill {{ x }} in. <%#vip%>Treat as VIP.<%/vip%> Never lie."
    into = before.replace("<%/vip%> Never lie.", " Never lie.<%/vip%>")
    turned = before.replace("<%#vip%>", "<%^vip%>")

    told = [check_prompt(before, text, template_format="mustache") for text in (into, turned)]

    assert [[violation.text for violation in found] for found in told] == [
        ["'Never lie.' … stands in other sections of the template than before"],
        ["lost {{#vip}}"],
    ]
    assert check_prompt(before, f"{before} Be kind.", template_format="mustache") == []


def test_delimiters_that_are_set_again_or_never_end_change_no_other_text() -> None:
    assert in_braces("{{=<% %>=}}{{a}} <%b%><%={{ }}=%>{{c}}", "mustache") == (
        "{{=<% %>=}}{ {a}} {{b}}{{={{ }}=}}{{c}}"
    )
    for text in ("{{a}} {{=b", "{{=<% %>=}} <%#a"):
        assert in_braces(text, "mustache") == text


@pytest.mark.parametrize("form", ["auto", "jinja2", "mustache"])
def test_delimiters_that_come_in_hide_no_new_code(form: TemplateFormat) -> None:
    before = "Hi {{ n }}. Be kind."
    found = check_prompt(before, f"{before} {{{{=<% %>=}}}} {{{{ x }}}}", template_format=form)
    assert {violation.rule for violation in found} & {"template", "variables"}


def test_each_sentence_is_looked_for_in_its_own_sections_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = "".join(
        f"{{% if a{i} %}}Check order {i} of {i * 7} first.{{% endif %}}" for i in range(50)
    )
    looked = list[int]()

    def counted(sentence: Read, others: Sequence[Read]) -> Stands:
        looked.append(len(others))
        return stands(sentence, others)

    monkeypatch.setattr(template_sections, "stands", counted)

    assert moved(before, before.replace("Check", "Always check"), "jinja2") is None
    assert sum(looked) == 50
