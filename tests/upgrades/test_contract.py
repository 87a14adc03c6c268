"""Today's contract is spoken by everyone who was built with that of a release: nothing is gone, nothing has moved."""

import pathlib

import pytest

from tests.upgrades.compatible import breaks
from tests.upgrades.old_client import descriptors
from tests.upgrades.release import FOLDERS, Release

TODAY = pathlib.Path(__file__).parents[2] / "clients/traind/v1/api.binpb"


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def release(request):
    return descriptors(Release(request.param).descriptors)


def file_of(found, name):
    return next(file for file in found.file if file.name.endswith(f"/{name}.proto"))


def message_of(found, file, name):
    return next(message for message in file_of(found, file).message_type if message.name == name)


def field_of(found, file, message, name):
    return next(field for field in message_of(found, file, message).field if field.name == name)


def test_nothing_is_gone_and_nothing_has_moved(release):
    assert list(breaks(release, descriptors(TODAY.read_bytes()))) == []


def remove_field(found):
    job = message_of(found, "jobs", "Job")
    del job.field[[field.name for field in job.field].index("epoch")]


def renumber(found):
    field_of(found, "jobs", "Job", "epoch").number = 99


def retype(found):
    field_of(found, "jobs", "Job", "epoch").type = 1


def repeat(found):
    field_of(found, "jobs", "Job", "display_name").label = 3


def rename_in_json(found):
    field_of(found, "jobs", "Job", "display_name").json_name = "title"


def take_out_of_its_oneof(found):
    field_of(found, "jobs", "Job", "train").ClearField("oneof_index")


def mean_another_message(found):
    field_of(found, "jobs", "Job", "resolved").type_name = ".traind.v1.Job"


def remove_enum_value(found):
    state = next(enum for enum in message_of(found, "jobs", "Job").enum_type if enum.name == "State")
    del state.value[-1]


def renumber_enum_value(found):
    state = next(enum for enum in message_of(found, "jobs", "Job").enum_type if enum.name == "State")
    state.value[-1].number = 40


def remove_message(found):
    file = file_of(found, "jobs")
    del file.message_type[[message.name for message in file.message_type].index("Failure")]


def remove_method(found):
    del file_of(found, "jobs").service[0].method[0]


def answer_another_message(found):
    file_of(found, "jobs").service[0].method[0].output_type = ".traind.v1.Failure"


def answer_once(found):
    next(rpc for rpc in file_of(found, "jobs").service[0].method if rpc.name == "WatchJob").server_streaming = False


def move_path(found):
    from google.api import annotations_pb2

    rpc = next(rpc for rpc in file_of(found, "jobs").service[0].method if rpc.name == "GetJob")
    rpc.options.Extensions[annotations_pb2.http].get = "/v2/{name=jobs/*}"


def remove_file(found):
    del found.file[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (remove_field, "Job.epoch is gone"),
        (renumber, "Job.epoch: its number was 15 and is 99"),
        (retype, "Job.epoch: its type was TYPE_INT64 and is TYPE_DOUBLE"),
        (repeat, "Job.display_name: its label"),
        (rename_in_json, "Job.display_name: its JSON name was displayName and is title"),
        (take_out_of_its_oneof, "Job.train: its presence was of task and is implicit"),
        (mean_another_message, "Job.resolved: its type"),
        (remove_enum_value, "Job.State.CANCELLED: was 8 and is gone"),
        (renumber_enum_value, "Job.State.CANCELLED: was 8 and is 40"),
        (remove_message, "Failure is gone"),
        (remove_method, "JobService.CreateJob is gone"),
        (answer_another_message, "JobService.CreateJob: its output_type"),
        (answer_once, "JobService.WatchJob: its server_streaming was True and is False"),
        (move_path, "JobService.GetJob: get /v1/{name=jobs/*}"),
        (remove_file, ".proto is gone"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_break_is_told(release, change, told):
    changed = descriptors(release.SerializeToString())
    change(changed)
    lines = list(breaks(release, changed))
    assert len(lines) == 1, lines
    assert told in lines[0]
