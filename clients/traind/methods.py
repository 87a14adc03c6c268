"""The calls this client makes: path, kinds of message, and whether a call may be sent again after a lost connection.

Nothing here needs gRPC, so that every transport can share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf import empty_pb2
from google.protobuf.message import Message

from traind.v1 import (
    datasets_pb2,
    jobs_pb2,
    models_pb2,
    predictions_pb2,
    profiles_pb2,
    server_pb2,
    uploads_pb2,
)

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Req, Res]):
    """One call of the contract."""

    path: str
    request: type[Req]
    response: type[Res]
    # It changes nothing, or coming twice changes nothing more: it is sent again after UNAVAILABLE.
    repeatable: bool = False


def _read(path: str, request: type[Req], response: type[Res]) -> Method[Req, Res]:
    return Method(f"/traind.v1.{path}", request, response, repeatable=True)


def _write(path: str, request: type[Req], response: type[Res]) -> Method[Req, Res]:
    return Method(f"/traind.v1.{path}", request, response)


GET_SERVER_INFO = _read("ServerService/GetServerInfo", server_pb2.GetServerInfoRequest, server_pb2.ServerInfo)

# A second upload is an empty one that expires by itself.
CREATE_UPLOAD = _read("UploadService/CreateUpload", uploads_pb2.CreateUploadRequest, uploads_pb2.Upload)
GET_UPLOAD = _read("UploadService/GetUpload", uploads_pb2.GetUploadRequest, uploads_pb2.Upload)
WRITE_UPLOAD = _write("UploadService/WriteUpload", uploads_pb2.WriteUploadRequest, uploads_pb2.Upload)

CREATE_DATASET = _write("DatasetService/CreateDataset", datasets_pb2.CreateDatasetRequest, datasets_pb2.Dataset)
GET_DATASET = _read("DatasetService/GetDataset", datasets_pb2.GetDatasetRequest, datasets_pb2.Dataset)
LIST_DATASETS = _read(
    "DatasetService/ListDatasets", datasets_pb2.ListDatasetsRequest, datasets_pb2.ListDatasetsResponse
)
PREVIEW_DATASET = _read(
    "DatasetService/PreviewDataset", datasets_pb2.PreviewDatasetRequest, datasets_pb2.PreviewDatasetResponse
)
PROFILE_DATASET = _read("DatasetService/ProfileDataset", datasets_pb2.ProfileDatasetRequest, profiles_pb2.Profile)
DOWNLOAD_DATASET = _read(
    "DatasetService/DownloadDataset", datasets_pb2.DownloadDatasetRequest, datasets_pb2.DownloadDatasetResponse
)
PROPOSE_TRAINING = _read("DatasetService/ProposeTraining", datasets_pb2.ProposeTrainingRequest, profiles_pb2.Proposal)
DELETE_DATASET = _write("DatasetService/DeleteDataset", datasets_pb2.DeleteDatasetRequest, empty_pb2.Empty)

# Its request id makes it repeatable.
CREATE_JOB = _read("JobService/CreateJob", jobs_pb2.CreateJobRequest, jobs_pb2.Job)
GET_JOB = _read("JobService/GetJob", jobs_pb2.GetJobRequest, jobs_pb2.Job)
LIST_JOBS = _read("JobService/ListJobs", jobs_pb2.ListJobsRequest, jobs_pb2.ListJobsResponse)
LIST_QUEUE = _read("JobService/ListQueue", jobs_pb2.ListQueueRequest, jobs_pb2.ListQueueResponse)
CANCEL_JOB = _write("JobService/CancelJob", jobs_pb2.CancelJobRequest, jobs_pb2.Job)
PAUSE_JOB = _write("JobService/PauseJob", jobs_pb2.PauseJobRequest, jobs_pb2.Job)
RESUME_JOB = _write("JobService/ResumeJob", jobs_pb2.ResumeJobRequest, jobs_pb2.Job)
# As above.
RETRY_JOB = _read("JobService/RetryJob", jobs_pb2.RetryJobRequest, jobs_pb2.Job)
FORK_JOB = _read("JobService/ForkJob", jobs_pb2.ForkJobRequest, jobs_pb2.Job)
WATCH_JOB = _read("JobService/WatchJob", jobs_pb2.WatchJobRequest, jobs_pb2.JobEvent)
GET_HISTORY = _read("JobService/GetHistory", jobs_pb2.GetHistoryRequest, jobs_pb2.History)

GET_MODEL = _read("ModelService/GetModel", models_pb2.GetModelRequest, models_pb2.Model)
LIST_MODELS = _read("ModelService/ListModels", models_pb2.ListModelsRequest, models_pb2.ListModelsResponse)
GET_WEIGHTS = _read("ModelService/GetWeights", models_pb2.GetWeightsRequest, models_pb2.Weights)
GET_SPLIT = _read("ModelService/GetSplit", models_pb2.GetSplitRequest, models_pb2.RowSplit)
EVALUATE_MODEL = _read("ModelService/EvaluateModel", models_pb2.EvaluateModelRequest, models_pb2.Evaluation)
EXPORT_MODEL = _read("ModelService/ExportModel", models_pb2.ExportModelRequest, models_pb2.ExportModelResponse)
# As of jobs, its request id makes it repeatable.
IMPORT_MODEL = _read("ModelService/ImportModel", models_pb2.ImportModelRequest, models_pb2.Model)
DELETE_MODEL = _write("ModelService/DeleteModel", models_pb2.DeleteModelRequest, empty_pb2.Empty)
SET_ALIAS = _write("ModelService/SetAlias", models_pb2.SetAliasRequest, models_pb2.ModelAlias)
GET_ALIAS = _read("ModelService/GetAlias", models_pb2.GetAliasRequest, models_pb2.ModelAlias)
LIST_ALIASES = _read("ModelService/ListAliases", models_pb2.ListAliasesRequest, models_pb2.ListAliasesResponse)
DELETE_ALIAS = _write("ModelService/DeleteAlias", models_pb2.DeleteAliasRequest, empty_pb2.Empty)
PREDICT = _read("PredictionService/Predict", predictions_pb2.PredictRequest, predictions_pb2.PredictResponse)
