"""What is refused before it is queued: more parameters, memory, or waiting jobs than this server allows."""

import threading
import uuid

import pytest

from service import jobs
from service.errors import QueueFull, TooLarge, TooManyParameters
from tests.service.lab import Lab
from traind.v1 import jobs_pb2

MLP = {"dataset": "penguins", "train": {"target": ["species"], "network": {"mlp": {"hidden": [500, 500]}}, "seed": 3}}


@pytest.fixture
def make_lab(database, tmp_path):
    def made(**more):
        lab = Lab(database, tmp_path, **more)
        lab.push("penguins")
        return lab

    return made


@pytest.mark.parametrize("validate_only", [True, False])
def test_a_job_of_more_memory_than_a_worker_gives(make_lab, validate_only):
    lab = make_lab(TRAIND_MAX_JOB_BYTES=str(2 << 20))
    with pytest.raises(TooManyParameters) as error:
        lab.submit(MLP, validate_only=validate_only)
    message, metadata = str(error.value), error.value.metadata
    assert message.startswith("job.train would take ")
    assert "this server allows 2 MB a job: use a smaller batch_size (it is 32), narrower or fewer layers" in message
    assert int(metadata["memory_bytes"]) > int(metadata["limit"]) == 2 << 20
    assert not jobs.list_jobs(lab.app, lab.caller, jobs_pb2.ListJobsRequest()).jobs


def test_parameters_are_looked_at_first(make_lab):
    lab = make_lab(TRAIND_MAX_JOB_BYTES=str(2 << 20), TRAIND_MAX_PARAMETERS="1000")
    with pytest.raises(TooManyParameters, match="parameters; this server allows 1,000"):
        lab.submit(MLP)


def test_an_evaluation_of_more_memory(make_lab):
    lab = make_lab()
    done = lab.submit(MLP)
    lab.work()
    tight = type(lab.app)(
        lab.settings.from_env({"TRAIND_DATA_DIR": str(lab.settings.data_dir), "TRAIND_MAX_JOB_BYTES": str(1 << 20)}),
        lab.app.database,
        lab.app.objects,
    )
    evaluate = jobs_pb2.EvaluateSpec(model=lab.get(done.name).model_version)
    request = jobs_pb2.CreateJobRequest(job=jobs_pb2.Job(dataset="penguins", evaluate=evaluate))
    with pytest.raises(TooManyParameters, match=r"job\.evaluate would take .* use fewer rows"):
        jobs.create_job(tight, lab.caller, request)


@pytest.mark.parametrize("validate_only", [True, False])
def test_a_job_that_no_answer_could_tell(make_lab, tmp_path, validate_only):
    """Its spec is told twice, so half of the largest request is enough."""
    lab = make_lab()
    names = [f"{number:05d}{'x' * 245}" for number in range(4095)]
    lab.push_bytes("wide", f"{','.join([*names, 'y'])}\n{','.join(['1'] * 4096)}\n{','.join(['2'] * 4096)}\n".encode())
    columns = [{"columns": names, "scale": "NONE"}]
    job = {"dataset": "wide", "train": {"inputs": names, "target": ["y"], "network": {"linear": {}}}}
    assert lab.get(lab.submit(job).name).train.inputs == names
    job["train"]["preprocess"] = {"groups": columns}
    with pytest.raises(TooLarge, match=r"job: its description has 4,\d+,\d+ bytes, .* at most 3,932,160 fit") as error:
        lab.submit(job, validate_only=validate_only)
    assert error.value.metadata["limit"] == "3932160"
    assert len(jobs.list_jobs(lab.app, lab.caller, jobs_pb2.ListJobsRequest()).jobs) == 1


def test_so_many_jobs_of_one_person_wait(make_lab):
    lab = make_lab(TRAIND_MAX_QUEUED_JOBS="3")
    key = str(uuid.uuid4())
    first = lab.submit(MLP, request_id=key)
    made = [first, *(lab.submit(MLP) for _ in range(2))]
    for validate_only in (True, False):
        with pytest.raises(QueueFull) as error:
            lab.submit(MLP, validate_only=validate_only)
        assert "3 of your jobs wait or are paused; this server allows 3 at once" in str(error.value)
        assert error.value.metadata == {"waiting": "3", "limit": "3"}
    assert lab.submit(MLP, request_id=key).name == first.name, "the same request again is answered"
    jobs.pause_job(lab.app, lab.caller, jobs_pb2.PauseJobRequest(name=first.name))
    with pytest.raises(QueueFull):
        lab.submit(MLP)
    kim, lab.caller = lab.caller, lab.person("lee")
    lab.push("penguins")
    lab.submit(MLP)
    lab.caller = kim
    jobs.cancel_job(lab.app, lab.caller, jobs_pb2.CancelJobRequest(name=made[1].name))
    lab.submit(MLP)


def test_many_at_once_do_not_take_more_places_than_there_are(make_lab):
    lab = make_lab(TRAIND_MAX_QUEUED_JOBS="5")
    taken, refused = [], []

    def submit():
        try:
            taken.append(lab.submit(MLP).name)
        except QueueFull:
            refused.append(1)

    threads = [threading.Thread(target=submit) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (5, 11)
