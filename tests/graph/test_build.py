"""The machine as it is drawn, and what Studio reads of it."""

from collections.abc import Callable

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings


def test_the_drawn_graph(golden: Callable[[str, str], str]) -> None:
    drawn = build_graph().get_graph().draw_mermaid()
    assert drawn == golden("graph.mmd", drawn)


def test_every_fallback_is_drawn() -> None:
    edges = {(e.source, e.target) for e in build_graph().get_graph().edges}
    assert {
        ("classify_prompts", "classify_by_rules"),
        ("generate_update", "update_by_rules"),
        ("optimize_config", "configure_by_rules"),
    } <= edges


def test_settings_have_names_defaults_and_descriptions() -> None:
    schema = build_graph().get_context_jsonschema()
    assert schema is not None
    for name, field in schema["properties"].items():
        assert field["description"], name
        assert "default" in field, name


def test_settings_go_before_the_project_only_where_they_were_set() -> None:
    settings = Settings(min_traces=7).over({"min_traces": 3, "model": "a:b"})
    assert (settings.min_traces, settings.model, settings.review) == (7, "a:b", False)
