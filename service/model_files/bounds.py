"""Whether a description is small enough to be looked at: asked before any rule, for rules take time by the item."""

from google.protobuf.message import Message

from service.calling.methods import MOST_MESSAGE_BYTES
from service.calling.requests import most_items
from service.model_files.layout import refused
from service.modelling.findings import LONGEST_FINDING
from service.modelling.golden import MOST_BYTES
from traind.v1 import jobs_pb2, model_files_pb2, models_pb2

# Of what a Model tells, and of what a Job does: each must fit into a message, with names and times beside it.
MOST_TOLD_BYTES = MOST_MESSAGE_BYTES - (16 << 10)


def check_bounds(file: model_files_pb2.ModelFile) -> None:
    """Raise InvalidModelFile where a list, or what a model or a job would tell, is longer than any can be."""
    for descriptor, value in file.ListFields():
        most = most_items(descriptor)
        if most is not None and len(value) > most:
            raise refused(f"has {len(value):,} {descriptor.name}, where at most {most:,} are taken", limit=most)
    _check_told("model", _model(file))
    _check_told("job", _job(file))
    size = file.golden.ByteSize()
    if size > MOST_BYTES:
        raise refused(f"has golden rows of {size:,} bytes, where at most {MOST_BYTES:,} are taken", limit=MOST_BYTES)
    if any(len(found.message) > LONGEST_FINDING for found in (*file.findings, *file.job_findings)):
        raise refused(f"has a finding of more than {LONGEST_FINDING:,} characters", limit=LONGEST_FINDING)


def _check_told(what: str, told: Message) -> None:
    size = told.ByteSize()
    if size > MOST_TOLD_BYTES:
        raise refused(
            f"describes its {what} with {size:,} bytes, where at most {MOST_TOLD_BYTES:,} are taken",
            limit=MOST_TOLD_BYTES,
        )


def _model(file: model_files_pb2.ModelFile) -> models_pb2.Model:
    return models_pb2.Model(
        display_name=file.display_name,
        spec=file.spec,
        inputs=file.inputs,
        outputs=file.outputs,
        metrics=file.metrics,
        findings=file.findings,
        confusion=file.confusion,
        engine=file.engine,
        origin=file.origin,
    )


def _job(file: model_files_pb2.ModelFile) -> jobs_pb2.Job:
    return jobs_pb2.Job(
        display_name=file.display_name,
        train=file.train,
        resolved=file.resolved,
        metrics=file.metrics,
        findings=file.job_findings,
        origin=file.origin,
    )
