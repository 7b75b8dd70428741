"""The thread that asks a policy. It never keeps a program from ending, even when the policy never answers."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any

Call = tuple[Future, Callable[..., Any], tuple, dict[str, Any]]


class QueryThread(Executor):
    """Runs calls one after another in a daemon thread, which begins with the first call.

    Python waits at its exit for the threads of a ThreadPoolExecutor, for ever if a call in them hangs. It does not wait
    for this one. The thread ends when nobody holds the executor any more.

    begin: called once in the thread, before the first call.
    """

    def __init__(self, begin: Callable[[], None] | None = None):
        self._begin, self._started = begin, False
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        weakref.finalize(self, self._calls.put, None).atexit = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        if not self._started:
            self._started = True
            threading.Thread(target=_work, args=(self._calls, self._begin), name="policy", daemon=True).start()
        future: Future = Future()
        self._calls.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Lets the thread end after the calls that it has; never waits for it."""
        self._calls.put(None)


def _work(calls: "SimpleQueue[Call | None]", begin: Callable[[], None] | None) -> None:
    if begin is not None:
        begin()
    while (call := calls.get()) is not None:
        future, function, args, kwargs = call
        if not future.set_running_or_notify_cancel():
            continue
        try:
            result = function(*args, **kwargs)
        except BaseException as error:  # raised where the result is awaited
            future.set_exception(error)
        else:
            future.set_result(result)
        del call, future, function, args, kwargs  # they would live until the next call
