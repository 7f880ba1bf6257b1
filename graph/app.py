"""The graph that `langgraph dev` serves: no store and no checkpointer, the server brings its own.

Its project file is named by TRACETUNE_PROJECT (a file or its folder) in the environment, which
`env` of langgraph.json goes before; without it, requests carry their agents inline.
"""

import os

from tracetune.graph.build import build_graph

__all__ = ["graph"]

graph = build_graph(project=os.environ.get("TRACETUNE_PROJECT") or None)
