"""The client with an event loop behind the blocking one's names, so that the same tests hold for both."""

import asyncio
import inspect
import threading

import traind


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, awaitable):
        async def wait():
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(120)

    def stop(self):
        self.run(self.loop.shutdown_asyncgens())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class Awaited:
    """An object of the client whose coroutines are run to their end and whose iterators block."""

    def __init__(self, inner, loop):
        self._inner = inner
        self._loop = loop

    def _told(self, value):
        if inspect.iscoroutine(value):
            return self._told(self._loop.run(value))
        if isinstance(value, list):
            return [self._told(one) for one in value]
        if inspect.ismethod(value):
            return lambda *args, **kwargs: self._told(
                value(*map(_bare, args), **{name: _bare(arg) for name, arg in kwargs.items()})
            )
        kinds = (traind.AsyncClient, traind.AsyncDataset, traind.AsyncJob, traind.AsyncModel)
        wrapped = isinstance(value, kinds) or hasattr(value, "__anext__") or type(value).__name__.startswith("Async")
        return Awaited(value, self._loop) if wrapped else value

    def __getattr__(self, name):
        return self._told(getattr(self._inner, name))

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self._told(self._loop.run(anext(self._inner)))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self):
        self._loop.run((getattr(self._inner, "aclose", None) or self._inner.close)())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return repr(self._inner)


def _bare(value):
    return value._inner if isinstance(value, Awaited) else value


def make_client(kind, loop, *args, **kwargs):
    """A Client, or an AsyncClient that looks like one."""
    return traind.Client(*args, **kwargs) if kind == "sync" else Awaited(traind.AsyncClient(*args, **kwargs), loop)
