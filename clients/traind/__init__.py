"""The client of traind, a model-training service.

    import traind

    client = traind.Client()
    client.datasets.create("iris.csv", name="iris")
    job = client.jobs.create(dataset="iris", model="iris", train={"target": ["species"], "network": {"mlp": {}}})
    model = job.wait().model
    model.predict([[5.1, 3.5, 1.4, 0.2]])

Importing this package costs next to nothing: what a name needs is loaded when the name is first used.
"""

from __future__ import annotations

import importlib

from traind.version import __version__

TYPE_CHECKING = False  # type checkers read it as true; importing typing for it would cost more than all the rest
if TYPE_CHECKING:
    from typing import Any

    from traind.aio.client import AsyncClient
    from traind.aio.datasets import AsyncDataset
    from traind.aio.jobs import AsyncJob
    from traind.aio.listing import AsyncListing
    from traind.aio.models import AsyncModel
    from traind.client import Client
    from traind.datasets import Dataset
    from traind.errors import (
        ApiError,
        AuthRequired,
        ConfigError,
        Conflict,
        ConnectionFailed,
        Forbidden,
        InvalidSpec,
        JobCancelled,
        JobFailed,
        NotFound,
        RateLimited,
        ServerError,
        TimedOut,
        TooLarge,
        TraindError,
        Unavailable,
        WaitTimeout,
    )
    from traind.events import Event, Failure, Finding
    from traind.history import History
    from traind.jobs import Job
    from traind.listing import Listing
    from traind.measured import Confusion, Split
    from traind.model_view import Alias, Evaluation
    from traind.models import Model
    from traind.predictions import Prediction
    from traind.profiles import Profile, Proposal, Reason

_HOMES = {
    "Alias": "model_view",
    "AsyncClient": "aio.client",
    "AsyncDataset": "aio.datasets",
    "AsyncJob": "aio.jobs",
    "AsyncListing": "aio.listing",
    "AsyncModel": "aio.models",
    "Client": "client",
    "Confusion": "measured",
    "Dataset": "datasets",
    "Event": "events",
    "Evaluation": "model_view",
    "Failure": "events",
    "Finding": "events",
    "History": "history",
    "Job": "jobs",
    "Listing": "listing",
    "Model": "models",
    "Prediction": "predictions",
    "Profile": "profiles",
    "Proposal": "profiles",
    "Reason": "profiles",
    "Split": "measured",
}

__all__ = [
    "Alias",
    "ApiError",
    "AsyncClient",
    "AsyncDataset",
    "AsyncJob",
    "AsyncListing",
    "AsyncModel",
    "AuthRequired",
    "Client",
    "ConfigError",
    "Conflict",
    "Confusion",
    "ConnectionFailed",
    "Dataset",
    "Evaluation",
    "Event",
    "Failure",
    "Finding",
    "Forbidden",
    "History",
    "InvalidSpec",
    "Job",
    "JobCancelled",
    "JobFailed",
    "Listing",
    "Model",
    "NotFound",
    "Prediction",
    "Profile",
    "Proposal",
    "RateLimited",
    "Reason",
    "ServerError",
    "Split",
    "TimedOut",
    "TooLarge",
    "TraindError",
    "Unavailable",
    "WaitTimeout",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'traind' has no attribute {name!r}")
    return getattr(importlib.import_module(f"traind.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
