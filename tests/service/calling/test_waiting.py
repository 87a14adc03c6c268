"""A limit of time around work that waits, and around work that does not."""

import asyncio

import pytest

from service.calling.waiting import at_most
from service.errors import DeadlinePassed


def timers(loop):
    return len(loop._scheduled)


async def at_once(value):
    return value


async def after(pauses, value):
    for _ in range(pauses):
        await asyncio.sleep(0.001)
    return value


async def broken(pauses):
    await after(pauses, None)
    raise ValueError("broken")


def test_work_that_does_not_wait_sets_no_timer():
    async def run():
        loop = asyncio.get_running_loop()
        before = timers(loop)
        assert await at_most(60, "it", at_once("done")) == "done"
        assert timers(loop) == before
        with pytest.raises(ValueError, match="broken"):
            await at_most(60, "it", broken(0))

    asyncio.run(run())


def test_work_that_waits_goes_on_to_its_end():
    async def run():
        assert await at_most(60, "it", after(3, "done")) == "done"
        with pytest.raises(ValueError, match="broken"):
            await at_most(60, "it", broken(2))
        # Several at a time, each in a task of its own.
        told = await asyncio.gather(*(at_most(60, "it", after(number % 4, number)) for number in range(50)))
        assert told == list(range(50))

    asyncio.run(run())


def test_what_takes_too_long_is_told_and_cleaned_up():
    cleaned = []

    async def endless():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def run():
        with pytest.raises(DeadlinePassed, match=r"the body took longer than the 0\.05 s it may take"):
            await at_most(0.05, "the body", endless())
        assert cleaned == [True]

    asyncio.run(run())


def test_a_cancellation_comes_to_the_work():
    told = []

    async def patient():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    async def run():
        task = asyncio.create_task(at_most(60, "it", patient()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == ["cancelled"]

    asyncio.run(run())


def test_work_that_outlives_its_cancellation_has_its_result():
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
        return await after(2, "done")

    async def run():
        task = asyncio.create_task(at_most(60, "it", stubborn()))
        await asyncio.sleep(0.01)
        task.cancel()
        assert await task == "done"

    asyncio.run(run())
