"""A program as a user writes it; mypy --strict reads it with the client as it is installed (test_install.py)."""

import asyncio

import traind


def train() -> list[float]:
    client = traind.Client("grpc://127.0.0.1:8081", timeout=10)
    with client:
        data: traind.Dataset = client.datasets.create({"x": [1, 2, 3]}, name="x")
        job: traind.Job = client.jobs.create(dataset=data, model="m", train={"target": ["x"]})
        for event in job.watch():
            print(event.epoch, event.metrics.get("train_loss"))
        ended: list[traind.Job] = client.jobs.wait([job])
        one: traind.Job = client.jobs.wait(job.name, timeout=3.0)
        model: traind.Model | None = one.model
        names: list[str] = [each.name for each in client.jobs.list(["FAILED"])]
        page: list[traind.Model] = client.models.list().next_page()
        history: traind.History = ended[0].history()
        epochs, losses = history["train_loss"]
        print(names, page, epochs, model.predict([[1.0]]) if model else None)
    return losses


async def train_beside() -> dict[str, float]:
    async with traind.AsyncClient() as client:
        data: traind.AsyncDataset = await client.datasets.get("x")
        job: traind.AsyncJob = await client.jobs.create(dataset=data, model="m", train={"target": ["x"]})
        async for event in job.watch():
            print(event.state)
        model: traind.AsyncModel | None = await job.model
        listed: list[traind.AsyncJob] = [each async for each in client.jobs.list()]
        try:
            await job.wait(3)
        except traind.JobFailed as failed:
            print(failed.failure_reason, failed.fix, listed)
        except traind.WaitTimeout:
            await job.cancel()
        return model.metrics if model else {}


if __name__ == "__main__":
    print(train(), asyncio.run(train_beside()))
