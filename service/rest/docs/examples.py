"""One example for each method of the contract, from which the page and the OpenAPI document take theirs.

Together they tell a story: a file becomes a data set, a job makes a model of it, the model predicts. Every one is run
against a real server by the tests, as curl line, as message over gRPC and as Python.
"""

from dataclasses import dataclass, field
from typing import Any

# Stand for the ids that the reader's server gave.
JOB = "6f1c2f0e-52a8-4c0b-9a3e-1d7f4b8c9e21"
UPLOAD = "0b9d6c1a-7e44-4f0d-8c35-52f6a1e3d7b8"
FILE = "examples/data/penguins.csv"

Json = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """One call.

    `path` is that of REST, `query` and `body` are its JSON names and values; `file` is sent as the body where a method
    takes bytes. `python` goes on after `client` has been made.
    """

    path: str
    python: str
    query: dict[str, str] = field(default_factory=dict)
    body: Json | None = None
    file: str = ""


_SPECIES: Json = {
    "target": ["species"],
    "network": {"mlp": {"hidden": [16]}},
    "learn": {"gradient": {"optimizer": {"adam": {"lr": 0.01}}, "epochs": 20}},
    "seed": 7,
}
# Two rows that the model has not seen.
_ROWS: list[Json] = [
    {"name": "island", "strings": ["Biscoe", "Dream"]},
    {"name": "bill_length_mm", "numbers": [46.1, 49.0]},
    {"name": "bill_depth_mm", "numbers": [13.2, 19.5]},
    {"name": "flipper_length_mm", "numbers": [211, 210]},
    {"name": "body_mass_g", "numbers": [4500, 3950]},
    {"name": "sex", "strings": ["female", "male"]},
]
_SEND = f"""\
# Opens an upload, writes the file, goes on where a broken connection left off, and makes the data set.
dataset = client.datasets.create("{FILE}", name="penguins")
print(dataset.name, dataset.row_count)"""
_CREATE = """\
job = client.jobs.create(
    dataset="penguins",
    model="species",
    train={
        "target": ["species"],
        "network": {"mlp": {"hidden": [16]}},
        "learn": {"gradient": {"optimizer": {"adam": {"lr": 0.01}}, "epochs": 20}},
        "seed": 7,
    },
)
job.wait()
print(job.name, job.state, job.metrics["val_accuracy"])"""
_PREDICT = """\
rows = {
    "island": ["Biscoe", "Dream"],
    "bill_length_mm": [46.1, 49.0],
    "bill_depth_mm": [13.2, 19.5],
    "flipper_length_mm": [211, 210],
    "body_mass_g": [4500, 3950],
    "sex": ["female", "male"],
}
print(client.predict("species", rows))"""
_PROFILE = """\
profile = client.datasets.profile("penguins")
for name, column in profile.columns.items():
    print(name, column.count, column.missing_count, column.distinct_count)"""
_WATCH = f"""\
for event in client.jobs.watch("{JOB}"):
    print(event)"""
_HISTORY = f"""\
for name, (epochs, values) in client.jobs.history("{JOB}").items():
    print(name, epochs[-1], values[-1])"""
_WEIGHTS = """\
for name, values in client.models.weights("species").items():
    print(name, len(values))"""
_EXPORT = """\
path = client.models.export("species", "species.safetensors", overwrite=True)
print(path.stat().st_size)"""
_IMPORT = """\
# Opens an upload, writes the file that an export wrote, here or on another server, and makes the model.
client.models.export("species", "species.safetensors", overwrite=True)
model = client.models.import_("species.safetensors", name="species")
print(model.name, model.origin.user)"""

_SET_ALIAS = """\
alias = client.models.set_alias("species", "champion", 1)
print(alias.model, alias.etag)"""
_DELETE_ALIAS = """\
client.models.set_alias("species", "champion", 1)
client.models.delete_alias("species", "champion")
print("deleted")"""
_DELETE_MODEL = """\
client.models.delete("mistake:1")
print("deleted")"""

EXAMPLES: dict[str, Example] = {
    "traind.v1.UploadService.CreateUpload": Example("/v1/uploads", _SEND, body={"sizeBytes": "13122"}),
    "traind.v1.UploadService.WriteUpload": Example(f"/v1/uploads/{UPLOAD}", _SEND, {"offset": "0"}, file=FILE),
    "traind.v1.UploadService.GetUpload": Example(f"/v1/uploads/{UPLOAD}", _SEND),
    "traind.v1.DatasetService.CreateDataset": Example(
        "/v1/datasets", _SEND, {"datasetId": "penguins"}, {"upload": f"uploads/{UPLOAD}"}
    ),
    "traind.v1.DatasetService.UploadDataset": Example(
        "/v1/datasets:upload", _SEND, {"datasetId": "penguins"}, file=FILE
    ),
    "traind.v1.DatasetService.GetDataset": Example(
        "/v1/datasets/penguins", 'dataset = client.datasets.get("penguins")\nprint(dataset.columns)'
    ),
    "traind.v1.DatasetService.ListDatasets": Example(
        "/v1/datasets", "for dataset in client.datasets.list():\n    print(dataset)", {"pageSize": "10"}
    ),
    "traind.v1.DatasetService.PreviewDataset": Example(
        "/v1/datasets/penguins:preview", 'print(client.datasets.head("penguins", rows=3))', {"rowCount": "3"}
    ),
    "traind.v1.DatasetService.ProfileDataset": Example("/v1/datasets/penguins:profile", _PROFILE),
    "traind.v1.DatasetService.DownloadDataset": Example(
        "/v1/datasets/penguins:download",
        'path = client.datasets.download("penguins", "penguins.parquet", overwrite=True)\nprint(path.stat().st_size)',
        {"format": "CSV"},
    ),
    "traind.v1.DatasetService.ProposeTraining": Example(
        "/v1/datasets/penguins:propose",
        'proposal = client.datasets.propose("penguins", target="species")\n'
        "for reason in proposal.reasons:\n"
        "    print(reason)",
        {"target": "species"},
    ),
    "traind.v1.DatasetService.DeleteDataset": Example(
        "/v1/datasets/mistake", 'client.datasets.delete("mistake")\nprint("deleted")'
    ),
    "traind.v1.JobService.CreateJob": Example(
        "/v1/jobs", _CREATE, body={"dataset": "penguins", "model": "species", "train": _SPECIES}
    ),
    "traind.v1.JobService.GetJob": Example(
        f"/v1/jobs/{JOB}", f'job = client.jobs.get("{JOB}")\nprint(job.state, job.metrics)'
    ),
    "traind.v1.JobService.ListJobs": Example(
        "/v1/jobs",
        'for job in client.jobs.list(["QUEUED", "SUCCEEDED"]):\n    print(job)',
        {"states": "SUCCEEDED", "pageSize": "10"},
    ),
    "traind.v1.JobService.ListQueue": Example(
        "/v1/queue",
        "entries = client.jobs.queue()\nprint(len(entries), 'hold a slot or wait for one')\n"
        "for entry in entries:\n    print(entry.position, entry.owner, entry.why_waiting)",
        {"pageSize": "10"},
    ),
    "traind.v1.JobService.CancelJob": Example(
        f"/v1/jobs/{JOB}:cancel", f'print(client.jobs.cancel("{JOB}").state)', body={}
    ),
    "traind.v1.JobService.PauseJob": Example(
        f"/v1/jobs/{JOB}:pause", f'print(client.jobs.pause("{JOB}").state)', body={}
    ),
    "traind.v1.JobService.ResumeJob": Example(
        f"/v1/jobs/{JOB}:resume", f'print(client.jobs.resume("{JOB}").state)', body={}
    ),
    "traind.v1.JobService.RetryJob": Example(
        f"/v1/jobs/{JOB}:retry", f'print(client.jobs.retry("{JOB}").state)', body={}
    ),
    "traind.v1.JobService.ForkJob": Example(
        f"/v1/jobs/{JOB}:fork",
        f'more = client.jobs.fork("{JOB}", {{"gradient": {{"epochs": 300}}}})\nprint(more.message.parent, more.epochs)',
        body={"learn": {"gradient": {"epochs": 300}}},
    ),
    "traind.v1.JobService.WatchJob": Example(f"/v1/jobs/{JOB}:watch", _WATCH, {"fromSeq": "1"}),
    "traind.v1.JobService.GetHistory": Example(f"/v1/jobs/{JOB}:history", _HISTORY, {"maxPoints": "100"}),
    "traind.v1.ModelService.GetModel": Example(
        "/v1/models/species", 'model = client.models.get("species")\nprint(model, model.metrics)'
    ),
    "traind.v1.ModelService.ListModels": Example(
        "/v1/models", "for model in client.models.list():\n    print(model)", {"pageSize": "10"}
    ),
    "traind.v1.ModelService.GetWeights": Example("/v1/models/species:weights", _WEIGHTS),
    "traind.v1.ModelService.GetSplit": Example("/v1/models/species:split", 'print(client.models.split("species"))'),
    "traind.v1.ModelService.EvaluateModel": Example(
        "/v1/models/species:evaluate",
        'print(client.models.evaluate("species", "penguins").metrics)',
        body={"dataset": "penguins"},
    ),
    "traind.v1.ModelService.ExportModel": Example("/v1/models/species:export", _EXPORT),
    "traind.v1.ModelService.ImportModel": Example(
        "/v1/models:import", _IMPORT, body={"upload": f"uploads/{UPLOAD}", "modelId": "species"}
    ),
    "traind.v1.ModelService.DeleteModel": Example("/v1/models/mistake/versions/1", _DELETE_MODEL),
    "traind.v1.ModelService.SetAlias": Example(
        "/v1/models/species:setAlias", _SET_ALIAS, body={"alias": "champion", "version": "1"}
    ),
    "traind.v1.ModelService.GetAlias": Example(
        "/v1/models/species/aliases/champion", 'print(client.models.alias("species", "champion").version)'
    ),
    "traind.v1.ModelService.ListAliases": Example(
        "/v1/models/species/aliases",
        'for alias in client.models.aliases("species"):\n    print(alias.name, alias.version)',
    ),
    "traind.v1.ModelService.DeleteAlias": Example("/v1/models/species/aliases/champion", _DELETE_ALIAS),
    "traind.v1.PredictionService.Predict": Example("/v1/models/species:predict", _PREDICT, body={"columns": _ROWS}),
    "traind.v1.ServerService.GetServerInfo": Example("/v1/serverInfo", "print(client.server_info())"),
}
