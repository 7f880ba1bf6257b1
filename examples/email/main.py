"""An e-mail agent learns from what its user says: `python examples/email/main.py [provider:model]`.

Without a model's name a stand-in answers, and nothing leaves this machine.
"""

from __future__ import annotations

import sys
from typing import Any

from agent import DEFAULTS, build_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langgraph.store.memory import InMemoryStore
from offline import OfflineModel

from tracetune import ProceduralMemory, create_multi_prompt_optimizer, update_prompts_in_store

USER = "ana"
CONFIG: Any = {"configurable": {"langgraph_user_id": USER}}
EMAILS = ("Can we have a meeting on Tuesday?", "Our newsletter: ten tips for a tidy desk.")
FEEDBACK = ('Always sign your letters with "Best, Ana".', "I do not want a newsletter answered.")

PROMPTS = {
    "main_agent": ("agent_instructions", "Update when an answer was not as it should be."),
    "triage-ignore": ("triage_ignore", "Update when an e-mail should have been ignored."),
    "triage-notify": ("triage_notify", "Update when the user should have been told."),
    "triage-respond": ("triage_respond", "Update when an e-mail should have been answered."),
}
"""Name for the optimizer: where the agent keeps it, and when it is to be updated."""


def prompts_of(store: InMemoryStore) -> list[dict[str, Any]]:
    """The user's prompts, as an optimizer takes them."""
    items = {item.key: str(item.value["prompt"]) for item in store.search((USER,))}
    return [
        {
            "name": name,
            "prompt": items.get(key, DEFAULTS[key]),
            "when_to_update": when,
            "update_instructions": "Keep it short and to the point.",
            "first_size": len(DEFAULTS[key]),
        }
        for name, (key, when) in PROMPTS.items()
    ]


def main() -> None:
    """Answer two e-mails, learn from what the user says of it, and answer them again."""
    name = next(iter(sys.argv[1:]), "")
    model: BaseChatModel = init_chat_model(name) if name else OfflineModel()
    store = InMemoryStore()
    agent = build_agent(model, store)
    optimizer = create_multi_prompt_optimizer(model, kind="rewrite")

    runs = [agent.invoke({"email": email}, CONFIG) for email in EMAILS]
    show("Before", runs)
    prompts = prompts_of(store)
    trajectories = [(run["messages"], told) for run, told in zip(runs, FEEDBACK, strict=True)]
    updated = optimizer.invoke({"trajectories": trajectories, "prompts": prompts})
    changed = update_prompts_in_store(store, USER, updated, prompts)
    print("Changed:", ", ".join(changed))
    show("After", [agent.invoke({"email": email}, CONFIG) for email in EMAILS])

    releases = ProceduralMemory(store, "email").agent(USER).releases()
    print("Releases, newest first:", ", ".join(release.origin for release in releases))


def show(when: str, runs: list[dict[str, Any]]) -> None:
    """Print what became of each e-mail."""
    for email, run in zip(EMAILS, runs, strict=True):
        answer = run["messages"][-1].text if run["messages"] else ""
        print(f"{when}: {email} -> {run['decision']}{': ' if answer else ''}{answer}")


if __name__ == "__main__":
    main()
