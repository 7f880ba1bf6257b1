"""An e-mail agent that keeps its prompts in a LangGraph store and reads them on every run.

It knows nothing of tracetune: two nodes, four prompts under `(user_id,)`, as in langmem's course.
"""

from __future__ import annotations

from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore
from pydantic import BaseModel, Field

DEFAULTS = {
    "agent_instructions": "Answer the e-mail in two sentences.",
    "triage_ignore": "Advertising and spam.",
    "triage_notify": "Somebody is ill; the build is broken.",
    "triage_respond": "Direct questions; requests for a meeting.",
}


class Triage(BaseModel):
    """What is to be done with an e-mail."""

    decision: Literal["ignore", "notify", "respond"] = Field(description="One of the three.")


class State(MessagesState):
    """One e-mail, what was decided about it, and what was said."""

    email: str
    decision: str


def read_prompt(store: BaseStore, config: RunnableConfig, key: str) -> str:
    """The user's prompt; the default is put there when the user has none yet."""
    namespace = (config.get("configurable", {})["langgraph_user_id"],)
    item = store.get(namespace, key)
    if item is None:
        store.put(namespace, key, {"prompt": DEFAULTS[key]}, index=False)
        return DEFAULTS[key]
    return str(item.value["prompt"])


def build_agent(model: BaseChatModel, store: BaseStore) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The agent: sort the e-mail first, and answer it where that is wanted."""
    router = model.with_structured_output(Triage)

    def triage(state: State, config: RunnableConfig, *, store: BaseStore) -> dict[str, str]:
        rules = "\n".join(
            f"{word}: {read_prompt(store, config, f'triage_{word}')}"
            for word in ("ignore", "notify", "respond")
        )
        decided = router.invoke(f"Sort this e-mail.\n\n{rules}\n\nE-mail: {state['email']}")
        assert isinstance(decided, Triage)
        return {"decision": decided.decision}

    def respond(
        state: State, config: RunnableConfig, *, store: BaseStore
    ) -> dict[str, list[AnyMessage]]:
        instructions = read_prompt(store, config, "agent_instructions")
        asked: list[Any] = [("system", instructions), ("user", state["email"])]
        return {"messages": [*asked[1:], model.invoke(asked)]}

    b = StateGraph(State)
    b.add_node("triage", triage)
    b.add_node("respond", respond)
    b.add_edge(START, "triage")
    b.add_conditional_edges(
        "triage", lambda state: "respond" if state["decision"] == "respond" else END
    )
    b.add_edge("respond", END)
    return b.compile(store=store)
