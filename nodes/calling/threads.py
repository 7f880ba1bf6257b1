"""Calls that block, each on a thread of its own that nothing waits for when they hang.

The threads of asyncio's and concurrent.futures' executors are waited for where an event loop
closes and where the interpreter ends; a model's sync call that hangs would keep both.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import types
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["start", "sync_calls_apart"]

P = ParamSpec("P")
Result = TypeVar("Result")


def start(work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Future[Result]:
    """Begin the work on a new daemon thread, in the caller's context; return its future result.

    Not for DuckDB: it aborts the process where a daemon thread is in it at the end.
    """
    result: Future[Result] = Future()
    # From here on it cannot be cancelled: whoever gives it up leaves it alone.
    result.set_running_or_notify_cancel()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result.set_result(context.run(work, *args, **kwargs))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, name="tracetune-call", daemon=True).start()
    return result


def sync_calls_apart(model: BaseChatModel) -> BaseChatModel:
    """The model, awaiting its sync calls on threads of their own where its async ones are no use.

    It is the same to whoever uses it: its class has the same name, and all that LangChain does
    around a call (callbacks, streaming, caches) stays in the caller's event loop.
    """
    apart = _apart(type(model), _only_sync_is_the_users(model))
    if apart is type(model):
        return model
    same = model.model_copy()
    object.__setattr__(same, "__class__", apart)
    return same


def _only_sync_is_the_users(model: BaseChatModel) -> bool:
    """Whether its async calls would pass by what the user set up: a client, say, with a proxy."""
    own, own_async = (getattr(model, name, None) for name in ("http_client", "http_async_client"))
    return own is not None and own_async is None


@functools.cache
def _apart(kind: type[BaseChatModel], sync: bool) -> type[BaseChatModel]:
    from langchain_core.language_models import BaseChatModel, SimpleChatModel

    members: dict[str, Any] = {}
    none = kind._agenerate in (BaseChatModel._agenerate, SimpleChatModel._agenerate)
    if sync or none:
        members["_agenerate"] = _agenerate
    elif _is_newer(kind, "_generate", "_agenerate"):
        members["_agenerate"] = _sync_or_own(kind)
    streams = kind._stream is not BaseChatModel._stream
    none = kind._astream is BaseChatModel._astream
    if streams and (sync or none or _is_newer(kind, "_stream", "_astream")):
        members["_astream"] = _astream
    if not members:
        return kind
    told = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return types.new_class(kind.__name__, (kind,), {}, lambda space: space.update(told | members))


def _is_newer(kind: type, name: str, than: str) -> bool:
    """Whether a subclass changed this method and left the other, which would pass the change by."""
    found = [next(i for i, k in enumerate(kind.__mro__) if n in vars(k)) for n in (name, than)]
    return found[0] < found[1]


def _sync_or_own(kind: type[BaseChatModel]) -> Any:
    async def answer(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await _agenerate(self, *args, **kwargs)
        except NotImplementedError:  # the change was to have async calls alone
            return await kind._agenerate(self, *args, **kwargs)

    return answer


async def _agenerate(
    self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
) -> Any:
    sync = run_manager.get_sync() if run_manager else None
    return await asyncio.wrap_future(start(self._generate, messages, stop, sync, **kwargs))


async def _astream(
    self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
) -> AsyncIterator[Any]:
    sync = run_manager.get_sync() if run_manager else None
    chunks = await asyncio.wrap_future(start(self._stream, messages, stop, sync, **kwargs))
    end = object()
    while (chunk := await asyncio.wrap_future(start(next, chunks, end))) is not end:
        yield chunk
