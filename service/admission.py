"""What a job may ask of this server, checked before it is queued: one check after the other, each with its own words.

    field ranges, 512 layers   the contract itself, at both doors (INVALID_FIELD)
    parameters                 TRAIND_MAX_PARAMETERS
    memory                     TRAIND_MAX_JOB_BYTES, by the estimate of modelling/memory.py
    jobs that wait             TRAIND_MAX_QUEUED_JOBS of one person

A check that only looks (`validate_only`) and a submission pass through the same ones.
"""

from service.errors import QueueFull, TooManyParameters
from service.modelling import memory, networks, specs
from service.modelling.inputs import InputLayout
from service.settings import Settings
from service.store import queue
from service.store.database import Connection
from service.store.records import DatasetRow
from traind.v1 import jobs_pb2, specs_pb2, tables_pb2


def admit_training(
    settings: Settings, job: jobs_pb2.Job, columns: list[tables_pb2.Column], dataset: DatasetRow
) -> None:
    """Count the parameters and the memory of a job whose spec is resolved. Raises TooManyParameters."""
    inputs, outputs = specs.widths(job.resolved, columns)
    job.parameter_count = networks.count_parameters(job.resolved.network, inputs, outputs)
    limit = settings.max_parameters
    if job.parameter_count > limit:
        raise TooManyParameters(
            f"job.train.network has {job.parameter_count:,} parameters; this server allows {limit:,}: "
            "make the layers narrower",
            metadata={"parameters": str(job.parameter_count), "limit": str(limit)},
        )
    sizes = _sizes(job.resolved, columns, dataset, job.parameter_count)
    job.memory_bytes = memory.estimate(job.resolved, sizes)
    _check_memory(
        settings, job, "job.train", f"{_batch(job.resolved)}narrower or fewer layers, or fewer rows or inputs"
    )


def admit_evaluation(
    settings: Settings,
    job: jobs_pb2.Job,
    spec: specs_pb2.TrainSpec,
    columns: list[tables_pb2.Column],
    dataset: DatasetRow,
) -> None:
    """Count the memory of a job that measures a model of that spec. Raises TooManyParameters."""
    job.memory_bytes = memory.estimate_evaluation(_sizes(spec, columns, dataset, job.parameter_count))
    _check_memory(settings, job, "job.evaluate", "fewer rows")


def admit_prediction(
    settings: Settings,
    job: jobs_pb2.Job,
    spec: specs_pb2.TrainSpec,
    layout: InputLayout,
    dataset: DatasetRow,
    told: int,
) -> None:
    """Count the memory of a job that predicts with a model of that spec, `told` columns of it. Raises
    TooManyParameters.
    """
    sizes = memory.Sizes(dataset.row_count, len(spec.inputs), layout, told, job.parameter_count)
    job.memory_bytes = memory.estimate_prediction(spec, sizes, told, job.epochs)
    _check_memory(settings, job, "job.predict", "a smaller model, fewer kept columns, or no probabilities")


def admit_to_queue(connection: Connection, settings: Settings, owner_id: str, *, lock: bool) -> None:
    """Raise QueueFull where as many jobs of this person wait as may.

    With `lock`, submissions of one person come one after the other until the transaction ends, so that two at once do
    not both take the last place.
    """
    limit = settings.max_queued_jobs
    if lock:
        queue.line_up(connection, owner_id)
    waiting = queue.count_of_owner(connection, owner_id, limit)
    if waiting >= limit:
        raise QueueFull(
            f"job: {waiting:,} of your jobs wait or are paused; this server allows {limit:,} at once: wait until some "
            "have run, or cancel some, then send the job again",
            metadata={"waiting": str(waiting), "limit": str(limit)},
        )


def _check_memory(settings: Settings, job: jobs_pb2.Job, field: str, cure: str) -> None:
    limit = settings.max_job_bytes
    if job.memory_bytes > limit:
        raise TooManyParameters(
            f"{field} would take {job.memory_bytes / 1e6:,.0f} MB of memory; this server allows {limit / 1e6:,.0f} MB "
            f"a job: use {cure}",
            metadata={"memory_bytes": str(job.memory_bytes), "limit": str(limit)},
        )


def _batch(resolved: specs_pb2.TrainSpec) -> str:
    """The cure that the size of a batch offers, where there are batches."""
    if resolved.learn.WhichOneof("way") != "gradient":
        return ""
    size = resolved.learn.gradient.batch_size
    return f"a smaller batch_size (it is {f'{size:,}' if size else 'all rows'}), "


def _sizes(
    spec: specs_pb2.TrainSpec, columns: list[tables_pb2.Column], dataset: DatasetRow, parameters: int
) -> memory.Sizes:
    """What the memory of a job depends on."""
    layout, outputs = specs.widths(spec, columns)
    return memory.Sizes(dataset.row_count, len(spec.inputs) + len(spec.target), layout, outputs, parameters)
