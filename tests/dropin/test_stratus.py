"""Stratus' meta-agent on a copy of a real checkout's files."""

import json
import shutil
import warnings
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tracetune import LLMMetaAgent, LLMMetaAgentConfig, RewardSpec, Settings
from tracetune.dropin.stratus_config import model_name, reward_of
from tracetune.dropin.stratus_layout import Checkout
from tracetune.errors import InputError, ModelError, NotFoundError, ProjectError
from tracetune.stores.backends import open_store
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.yaml_files import read_yaml, replace_values

REAL = "run_20251202_112857/diagnosis_network_policy_block*"
RULES = LLMMetaAgentConfig(use_llm_optimization=False)


class AgentType(Enum):
    """As Stratus has it."""

    DIAGNOSIS = "diagnosis"


@pytest.fixture
def checkout(shared_data: Path, tmp_path: Path) -> Path:
    """A checkout with the four agents' real files, and runs that fail where they repeat a call."""
    root = tmp_path / "SREGym"
    copy(shared_data / "stratus" / "configs-2025", root / "clients" / "stratus" / "configs")
    [real] = (shared_data / "stratus" / "agent-traces").glob(REAL)
    record = json.loads(real.read_text(encoding="utf-8"))
    put_runs(root / "meta_agent", record, 24)
    return root


def put_runs(folder: Path, record: dict[str, Any], count: int) -> None:
    """Put runs made of the real one into `traces/`, half of them successful."""
    results = []
    (folder / "traces").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        row, result = run_of(record, f"run{number}", success=number % 2 == 0)
        path = folder / "traces" / f"diagnosis_{number}.json"
        path.write_text(json.dumps(row), encoding="utf-8")
        results.append(result)
    told = {"run_id": "made", "problem_count": count, "results": results}
    (folder / "learning_results.json").write_text(json.dumps(told), encoding="utf-8")


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    target.chmod(0o755)


def run_of(record: dict[str, Any], id: str, *, success: bool) -> tuple[Any, Any]:
    """A run that begins as the real one, then submits or makes its last call again and again."""
    calls = record["tool_calls"][:3]
    last = calls[-1]
    end = last["timestamp"]
    again = [{**last, "timestamp": end + n} for n in range(1, 13)]
    submit = {**last, "tool_name": "submit_tool", "arguments": {}, "timestamp": end + 20}
    row = {**record, "trace_id": id, "thinking_steps": record["thinking_steps"][:3]}
    row["tool_calls"] = [*calls, *([] if success else again), submit]
    graded = {"Diagnosis": {"success": success}}
    result = {"problem_id": id, "trace_ids": {"diagnosis": id}, "conductor_results": graded}
    return row, result


def files(root: Path) -> dict[str, bytes]:
    """The agents' own files, by name."""
    configs = root / "clients" / "stratus" / "configs"
    return {path.name: path.read_bytes() for path in sorted(configs.glob("*.yaml"))}


def versions(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "meta_agent" / "versions").glob("*"))


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    assert before.keys() == after.keys()
    return [name for name in before if before[name] != after[name]]


def test_the_rules_write_prompts_and_config_in_place(checkout: Path) -> None:
    before = files(checkout)
    agent = LLMMetaAgent(RULES, root=checkout)
    result = agent.start_learning_cycle()
    assert result["status"] == "success"
    assert (result["cycle"], agent.learning_cycles) == (1, 1)
    assert result["traces_analyzed"] == 24
    assert {(e["agent_type"], e["name"], e["type"]) for e in result["applied_updates"]} == {
        ("diagnosis", "system", "pattern_based"),
        ("diagnosis", "max_step", "pattern_based_config"),
    }
    assert json.loads(json.dumps(result)) == result

    after = files(checkout)
    names = ["diagnosis_agent_config.yaml", "diagnosis_agent_prompts.yaml"]
    assert changed(before, after) == names
    limit = b"max_step: 20", b"max_step: 10"
    assert after[names[0]] == before[names[0]].replace(*limit)
    config_dir = checkout / "clients" / "stratus" / "configs"
    prompts = read_yaml(config_dir / names[1])
    original = read_yaml(config_dir / "backups" / names[1])
    assert prompts["system"].startswith(original["system"].rstrip())
    assert {**prompts, "system": original["system"]} == original
    made = replace_values(before[names[1]].decode(), {"system": prompts["system"]})
    assert made.encode() == after[names[1]]
    assert {p.name: p.read_bytes() for p in config_dir.glob("backups/*")} == {
        name: text for name, text in before.items() if not name.startswith("llm_")
    }

    folder = checkout / "meta_agent" / "versions"
    assert versions(checkout) == ["diagnosis_config_v1.0.0.yaml", "diagnosis_v1.0.0.yaml"]
    assert (folder / "diagnosis_v1.0.0.yaml").read_bytes() == after[names[1]]
    assert (folder / "diagnosis_config_v1.0.0.yaml").read_bytes() == after[names[0]]


async def test_a_second_cycle_on_the_same_traces_changes_nothing(checkout: Path) -> None:
    agent = LLMMetaAgent(RULES, root=checkout)
    agent.start_learning_cycle()
    before, kept = files(checkout), versions(checkout)
    again = await LLMMetaAgent(RULES, root=checkout).astart_learning_cycle()
    assert again["status"] == "success"
    assert again["updates_applied"] == 0
    assert again["outcomes"]["diagnosis"].startswith("nothing new")
    assert (files(checkout), versions(checkout)) == (before, kept)


def test_more_runs_of_the_same_kind_let_nothing_grow(checkout: Path) -> None:
    agent = LLMMetaAgent(RULES, root=checkout)
    agent.start_learning_cycle()
    learned = files(checkout)
    path = checkout / "meta_agent" / "traces" / "diagnosis_1.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for count in (30, 36):
        put_runs(checkout / "meta_agent", record, count)
        again = agent.start_learning_cycle()
        assert again["traces_analyzed"] == count
        assert again["outcomes"]["diagnosis"].startswith("no change")
    assert files(checkout) == learned


def answers(text: str = "Look at the events before you submit.") -> dict[str, list[Any]]:
    chosen = [
        {"agent": "diagnosis", "prompt": name, "why": "Runs repeat a call."}
        for name in ("system", "user")
    ]
    edit = {"add": [{"text": text, "why": "Runs that repeat fail.", "patterns": [1]}], "retire": []}
    changes = [
        {"parameter": "max_step", "value": 30, "why": "Runs end at the limit."},
        {"parameter": "prompts_path", "value": "other.yaml", "why": "It is better."},
    ]
    return {
        "Classification": [{"updates": chosen}],
        "Edits": [edit],
        "ConfigChanges": [{"changes": changes}],
    }


@pytest.mark.parametrize("sync", [True, False], ids=["start", "astart"])
async def test_a_model_adds_to_system_and_bounded_numbers_alone(
    sync: bool, checkout: Path, scripted: Any
) -> None:
    before = files(checkout)
    model = scripted(**answers())
    agent = LLMMetaAgent(LLMMetaAgentConfig(), root=checkout, model=model)
    result = agent.start_learning_cycle() if sync else await agent.astart_learning_cycle()
    assert {(e["name"], e["type"], e["version"]) for e in result["applied_updates"]} == {
        ("system", "llm_prompt_optimization", "1.0.0"),
        ("max_step", "llm_config_optimization", "1.0.0"),
    }
    assert result["llm_optimizations"] == 1
    assert result["fallbacks"] == []
    assert any("must not change" in note and "user" in note for note in result["notes"])
    after = files(checkout)
    names = ["diagnosis_agent_config.yaml", "diagnosis_agent_prompts.yaml"]
    assert changed(before, after) == names
    assert after[names[0]] == before[names[0]].replace(b"max_step: 20", b"max_step: 30")
    assert b"Look at the events" in after[names[1]]
    [dropped] = [d for r in result["reports"][0]["results"] for d in r["dropped"]]
    assert "prompts_path" in dropped
    shown = "\n".join(model.seen)
    assert '"success_weight": 2.0' in shown
    assert "sync_tools" not in shown


def test_what_nothing_fills_in_never_reaches_system(checkout: Path, scripted: Any) -> None:
    bad = answers("Look into {app_namespace} before you submit.")
    bad["Edits"] *= 4
    before = files(checkout)
    config = LLMMetaAgentConfig(optimize_configs=False)
    agent = LLMMetaAgent(config, root=checkout, model=scripted(**bad))
    result = agent.start_learning_cycle()
    [fallback] = result["fallbacks"]
    assert fallback["branch"] == "generate_update diagnosis/system"
    assert [e["type"] for e in result["applied_updates"]] == ["pattern_based"]
    after = files(checkout)
    assert changed(before, after) == ["diagnosis_agent_prompts.yaml"]
    assert b"app_namespace} before" not in after["diagnosis_agent_prompts.yaml"]


def test_the_rules_take_over_when_the_model_fails(checkout: Path, scripted: Any) -> None:
    broken = {name: [ConnectionError("key-" + "1" * 20)] for name in answers()}
    agent = LLMMetaAgent(
        LLMMetaAgentConfig(), root=checkout, model=scripted(**broken), settings=Settings(retries=0)
    )
    result = agent.start_learning_cycle()
    assert result["status"] == "success"
    assert {f["used"] for f in result["fallbacks"]} == {
        "classify_by_rules",
        "update_by_rules",
        "configure_by_rules",
    }
    assert {e["source"] for e in result["applied_updates"]} == {"rules"}
    assert "1" * 20 not in json.dumps(result)
    prompts = read_yaml(checkout / "clients/stratus/configs/diagnosis_agent_prompts.yaml")
    assert all(text.strip() for text in prompts.values())


def test_without_a_key_the_cycle_runs_on_rules_and_says_so(checkout: Path) -> None:
    result = LLMMetaAgent(root=checkout).start_learning_cycle()
    assert result["updates_applied"] == 2
    assert any("rules alone" in note for note in result["notes"])


def test_a_version_comes_back_byte_for_byte_and_stays(checkout: Path) -> None:
    agent = LLMMetaAgent(RULES, root=checkout)
    original = files(checkout)
    agent.start_learning_cycle()
    learned = files(checkout)
    assert agent.clean_all_guidelines()
    cleaned = files(checkout)
    assert changed(learned, cleaned) == ["diagnosis_agent_prompts.yaml"]
    assert "learned" not in cleaned["diagnosis_agent_prompts.yaml"].decode()
    assert agent.rollback_to_version("diagnosis", "1.0.0")
    assert read_all(checkout) == {n: parsed(t) for n, t in learned.items()}
    again = agent.start_learning_cycle()
    assert again["updates_applied"] == 0
    assert read_all(checkout) == {n: parsed(t) for n, t in learned.items()}
    assert original != learned


def parsed(text: bytes) -> Any:
    import yaml

    return yaml.safe_load(text)


def read_all(root: Path) -> dict[str, Any]:
    return {name: parsed(text) for name, text in files(root).items()}


def test_a_rollback_keeps_what_was_edited_by_hand_in_memory(checkout: Path) -> None:
    agent = LLMMetaAgent(RULES, root=checkout)
    agent.start_learning_cycle()
    path = checkout / "clients/stratus/configs/diagnosis_agent_prompts.yaml"
    edited = replace_values(path.read_text(encoding="utf-8"), {"system": "By hand."})
    path.write_text(edited, encoding="utf-8")
    assert agent.rollback_agent(AgentType.DIAGNOSIS, "1.0.0")
    assert read_yaml(path)["system"] != "By hand."
    store = Checkout(checkout).project(checkout, RewardSpec()).store
    with open_store(store) as opened:
        releases = ProceduralMemory(opened, "stratus").agent("diagnosis").releases()
        head = ProceduralMemory(opened, "stratus").agent("diagnosis").release
    assert any(release.prompts["system"] == "By hand." for release in releases)
    assert head.prompts == read_yaml(path)


@pytest.mark.parametrize(
    "version", ["1.0.7", "../1.0.0", "", "latest"], ids=lambda v: f"no version {v or 'of no name'}"
)
def test_a_version_that_is_not_there_changes_nothing(version: str, checkout: Path) -> None:
    before = files(checkout)
    assert not LLMMetaAgent(RULES, root=checkout).rollback_to_version("diagnosis", version)
    assert files(checkout) == before


def test_a_version_of_stratus_own_brings_its_prompts_alone(checkout: Path) -> None:
    folder = checkout / "meta_agent" / "versions"
    folder.mkdir()
    old = "system: Older.\nthinking_guidelines: None reads this.\n"
    (folder / "diagnosis_v1.0.3.yaml").write_text(old, encoding="utf-8")
    before = read_all(checkout)
    agent = LLMMetaAgent(RULES, root=checkout)
    assert agent.rollback_to_version("diagnosis", "1.0.3")
    name = "diagnosis_agent_prompts.yaml"
    assert read_all(checkout) == {**before, name: {**before[name], "system": "Older."}}
    agent.start_learning_cycle()
    assert "diagnosis_v1.0.4.yaml" in versions(checkout)


def test_updates_can_be_proposed_alone(checkout: Path) -> None:
    before = files(checkout)
    config = LLMMetaAgentConfig(use_llm_optimization=False, enable_auto_updates=False)
    agent = LLMMetaAgent(config, root=checkout)
    result = agent.start_learning_cycle()
    assert result["updates_applied"] == 0
    assert {e["name"] for e in result["proposed_updates"]} == {"system", "max_step"}
    assert files(checkout) == before
    assert versions(checkout) == []
    assert not agent.should_start_learning_cycle()


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        pytest.param({"optimize_prompts": False}, {"max_step"}, id="configs alone"),
        pytest.param({"optimize_configs": False}, {"system"}, id="prompts alone"),
        pytest.param({"min_traces_for_analysis": 24}, {"system", "max_step"}, id="just enough"),
    ],
)
def test_settings_say_what_may_change(
    setting: dict[str, Any], names: set[str], checkout: Path
) -> None:
    config = LLMMetaAgentConfig(use_llm_optimization=False, **setting)
    result = LLMMetaAgent(config, root=checkout).start_learning_cycle()
    assert {e["name"] for e in result["applied_updates"]} == names


def test_what_cannot_be_written_is_an_error_and_has_no_version(checkout: Path) -> None:
    path = checkout / "clients/stratus/configs/diagnosis_agent_config.yaml"
    text = path.read_text(encoding="utf-8")
    tied = text.replace("max_step: 20", "max_step: &most 20")
    path.write_text(f"{tied}\nspare: *most\n", encoding="utf-8")
    before = files(checkout)
    result = LLMMetaAgent(RULES, root=checkout).start_learning_cycle()
    assert result["status"] == "error"
    assert "max_step cannot be changed" in result["error"]
    assert result["updates_applied"] == 0
    assert files(checkout) == before
    assert versions(checkout) == []


def test_a_version_that_cannot_be_copied_is_told(checkout: Path) -> None:
    (checkout / "meta_agent" / "versions").write_text("no folder", encoding="utf-8")
    result = LLMMetaAgent(RULES, root=checkout).start_learning_cycle()
    assert [e["version"] for e in result["applied_updates"]] == [None, None]
    assert any("no copy in versions/" in note for note in result["notes"])


def test_an_agent_with_few_runs_is_left_to_the_rules(checkout: Path, scripted: Any) -> None:
    config = LLMMetaAgentConfig(min_traces_for_llm_optimization=25)
    result = LLMMetaAgent(config, root=checkout, model=scripted()).start_learning_cycle()
    assert {e["source"] for e in result["applied_updates"]} == {"rules"}


def test_traces_that_cannot_be_read_are_why_there_are_too_few(checkout: Path) -> None:
    paths = list((checkout / "meta_agent" / "traces").glob("*.json"))
    for path in paths:
        trace = json.loads(path.read_text())
        path.write_text(json.dumps(trace | {"start_time": "soon"}))
    result = LLMMetaAgent(LLMMetaAgentConfig(), root=checkout).start_learning_cycle()
    assert result["status"] == "insufficient_traces"
    assert result["notes"][0].startswith(f"{len(paths)} records were set aside; the first: ")
    assert "start_time is 'soon'" in result["notes"][0]


def test_runs_whose_end_nobody_knows_are_told_of(checkout: Path) -> None:
    (checkout / "meta_agent" / "learning_results.json").unlink()
    config = LLMMetaAgentConfig(use_llm_optimization=False)
    result = LLMMetaAgent(config, root=checkout).start_learning_cycle()
    assert "How they ended is known of none of the 24 runs." in result["notes"]


@pytest.mark.parametrize(
    ("least", "folder", "count"),
    [
        pytest.param(25, "meta_agent/traces", 24, id="fewer than wanted"),
        pytest.param(10, "meta_agent/none", 0, id="no folder"),
    ],
)
def test_too_few_traces_leave_all_as_it_is(
    least: int, folder: str, count: int, checkout: Path
) -> None:
    before = sorted(checkout.rglob("*"))
    agent = LLMMetaAgent(LLMMetaAgentConfig(min_traces_for_analysis=least), root=checkout)
    agent.trace_collector.storage_dir = folder
    result = agent.start_learning_cycle()
    assert result["status"] == "insufficient_traces"
    assert result["traces_count"] == count
    assert sorted(checkout.rglob("*")) == before


def test_real_runs_blame_nobody_without_evidence(checkout: Path, shared_data: Path) -> None:
    """As Stratus' own driver lays its runs out: results above the traces."""
    for run in (shared_data / "stratus" / "agent-traces").iterdir():
        to = checkout / "llm_learning_results" / run.name
        copy(run, to / "traces")
        (to / "traces" / "learning_results.json").replace(to / "learning_results.json")
    before = files(checkout)
    agent = LLMMetaAgent(RULES, root=checkout)
    agent.trace_collector.storage_dir = checkout / "llm_learning_results"
    known = [trace.success for trace in agent.trace_collector.load_traces()]
    assert sum(success is not None for success in known) == 38
    result = agent.start_learning_cycle()
    assert result["traces_analyzed"] == len(known) == 57
    assert any(note.startswith("rollback: left as it is") for note in result["notes"])
    assert any(note.startswith("localization: it has no runs") for note in result["notes"])
    assert files(checkout) == before


def test_today_s_checkout_has_no_localization(checkout: Path, shared_data: Path) -> None:
    configs = checkout / "clients" / "stratus" / "configs"
    shutil.rmtree(configs)
    copy(shared_data / "stratus" / "configs", configs)
    result = LLMMetaAgent(RULES, root=checkout).start_learning_cycle()
    assert "diagnosis" in {e["agent_type"] for e in result["applied_updates"]}
    assert not any("localization" in note for note in result["notes"])
    prompts = read_yaml(configs / "diagnosis_agent_prompts.yaml")
    assert set(prompts) == {"system", "user", "diagnosis_summary_prompt"}


def test_what_may_be_tuned_is_declared_from_the_files(checkout: Path) -> None:
    agents = Checkout(checkout).project(checkout, RewardSpec()).agents
    mitigation, rollback = agents["mitigation"], agents["rollback"]
    free = {n: p for n, p in mitigation.parameters.items() if not p.frozen}
    assert set(free) == {"max_step", "max_retry_attempts", "max_loop_count", "retry_mode"}
    assert (free["max_retry_attempts"].min, free["max_retry_attempts"].max) == (1, 20)
    assert free["retry_mode"].choices == ("naive", "validate", "none")
    assert rollback.parameters["max_step"].min == 20
    for name in ("user", "retry_user"):
        spec = mitigation.prompts[name]
        assert (spec.when_to_update, spec.template_format) == ("never", "f-string")
    assert mitigation.prompts["system"].template_format == "none"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("gemini/gemini-2.5-flash", "google_genai:gemini-2.5-flash"),
        ("vertex_ai/gemini-2.5-pro", "google_vertexai:gemini-2.5-pro"),
        ("ollama/llama3:8b", "ollama:llama3:8b"),
        ("openrouter/meta-llama/llama-3", "openrouter:meta-llama/llama-3"),
        ("gpt-4o", "openai:gpt-4o"),
        ("claude-sonnet-4", "anthropic:claude-sonnet-4"),
        ("gemini-2.5-flash", "google_genai:gemini-2.5-flash"),
        ("gemini-pro-flash", "gemini-pro-flash"),
        ("google_genai:gemini-2.5-flash", "google_genai:gemini-2.5-flash"),
        ("rules", "rules"),
        ("nobody/knows", "nobody:knows"),
    ],
)
def test_models_are_named_as_langchain_names_them(given: str, expected: str) -> None:
    assert model_name(given) == expected


def test_a_provider_that_nobody_knows_is_told_before_a_file_changes(
    checkout: Path,
) -> None:
    before = files(checkout)
    agent = LLMMetaAgent(LLMMetaAgentConfig(llm_model="nobody/knows"), root=checkout)
    with pytest.raises(ModelError, match="'nobody' in 'nobody:knows'"):
        agent.start_learning_cycle()
    assert files(checkout) == before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(None, RewardSpec(2.0, -0.3, -0.2), id="Stratus' default"),
        pytest.param(RewardSpec(1.0, 0.0, 0.0), RewardSpec(1.0, 0.0, 0.0), id="ours"),
        pytest.param(
            SimpleNamespace(success_weight=1, latency_weight=0, attempts_weight=-1),
            RewardSpec(1, 0, -1),
            id="an object of Stratus' own class",
        ),
    ],
)
def test_weights_are_kept(given: Any, expected: RewardSpec) -> None:
    assert reward_of(LLMMetaAgentConfig(reward_spec=given)) == expected


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        pytest.param(
            lambda: LLMMetaAgentConfig(min_traces_for_analysis=0), InputError, "but is 0", id="none"
        ),
        pytest.param(
            lambda: LLMMetaAgentConfig(reward_spec=SimpleNamespace(success_weight=1.0)),
            InputError,
            "latency_weight must be a number, but is None",
            id="a weight missing",
        ),
        pytest.param(
            lambda: LLMMetaAgentConfig(llm="x"),  # type: ignore[call-arg]
            TypeError,
            "unexpected keyword argument 'llm'",
            id="an unknown setting",
        ),
        pytest.param(
            lambda: LLMMetaAgent(root="/nowhere").start_learning_cycle(),
            ProjectError,
            "expected those of a Stratus checkout",
            id="no checkout",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    make: Callable[[], object], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_agent_that_is_not_there_is_an_error(checkout: Path) -> None:
    with pytest.raises(NotFoundError, match="no agent 'triage'; expected one of diagnosis, "):
        LLMMetaAgent(RULES, root=checkout).rollback_to_version("triage", "1.0.0")


def test_settings_without_a_meaning_are_named_in_one_warning() -> None:
    with pytest.warns(UserWarning, match="confidence_threshold and points_storage_path of") as told:
        LLMMetaAgentConfig(confidence_threshold=0.9, points_storage_path="points")
    assert [Path(warning.filename).name for warning in told] == [Path(__file__).name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LLMMetaAgentConfig(learning_interval=0, backup_original_prompts=False)
