"""The blocking client and the one with an event loop have the same names, parameters, defaults and words."""

import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import traind
from traind import aio, datasets, jobs, models, watching
from traind.aio import datasets as aio_datasets
from traind.aio import jobs as aio_jobs
from traind.aio import models as aio_models

PAIRS = [
    (traind.Client, traind.AsyncClient),
    (traind.Dataset, traind.AsyncDataset),
    (traind.Job, traind.AsyncJob),
    (traind.Model, traind.AsyncModel),
    (traind.Listing, traind.AsyncListing),
    (datasets.Datasets, aio_datasets.AsyncDatasets),
    (jobs.Jobs, aio_jobs.AsyncJobs),
    (models.Models, aio_models.AsyncModels),
    (watching.Watch, aio.watching.AsyncWatch),
]
# Verbs that answer something to iterate over, which is not awaited itself.
ITERATED = {"list", "watch", "logs", "events", "_one_stream"}
# They ask nobody.
PLAIN = {"with_options", "record", "row"}


def bare(annotation):
    """An annotation without what sets the two apart."""
    return re.sub(r"\bAsync(?=[A-Z])", "", str(annotation))


def members(kind):
    return {
        name: value for name, value in vars(kind).items() if inspect.isfunction(value) or isinstance(value, property)
    }


@pytest.mark.parametrize(("blocking", "looped"), PAIRS, ids=lambda kind: kind.__name__)
def test_same_names_parameters_and_words(blocking, looped):
    renamed = {
        name.replace("__a", "__", 1) if re.match(r"__a(enter|exit|iter|next)__", name) else name: value
        for name, value in members(looped).items()
    }
    ours = members(blocking)
    assert ours.keys() == renamed.keys()
    for name in ours:
        one, other = (value.fget if isinstance(value, property) else value for value in (ours[name], renamed[name]))
        signature, counterpart = inspect.signature(one), inspect.signature(other)
        assert list(signature.parameters) == list(counterpart.parameters), name
        for parameter, twin in zip(signature.parameters.values(), counterpart.parameters.values(), strict=True):
            assert (parameter.kind, parameter.default) == (twin.kind, twin.default), name
            assert bare(parameter.annotation) == bare(twin.annotation).replace(
                "Awaitable[tuple[list[T], str]]", "tuple[list[T], str]"
            ), name
        assert bare(signature.return_annotation) == bare(counterpart.return_annotation), name
        assert one.__doc__ == (other.__doc__ and bare(other.__doc__)), name


@pytest.mark.parametrize(("blocking", "looped"), PAIRS, ids=lambda kind: kind.__name__)
def test_every_verb_that_asks_the_server_is_awaited(blocking, looped):
    for name, value in members(looped).items():
        asks = value.fget if isinstance(value, property) else value
        if name.startswith("__") or name in PLAIN or (name.startswith("_") and not inspect.iscoroutinefunction(asks)):
            continue
        if name in ITERATED:
            assert not inspect.iscoroutinefunction(asks), name
        elif not isinstance(value, property):
            assert inspect.iscoroutinefunction(asks), name
    assert not [name for name, value in members(blocking).items() if inspect.iscoroutinefunction(value)]


def test_the_blocking_client_is_what_its_source_makes(tmp_path):
    subprocess.run([sys.executable, "proto/unasync_client.py", str(tmp_path)], check=True, timeout=60)
    made = sorted((tmp_path / "clients/traind").glob("*.py"))
    stems = ["client", "datasets", "jobs", "listing", "models", "uploading", "watching"]
    assert [file.stem for file in made] == stems
    for file in made:
        ours = pathlib.Path("clients/traind", file.name)
        assert file.read_text() == ours.read_text(), f"run make proto: {ours} is stale"
