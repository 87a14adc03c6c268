"""Who may call what: one row for each method of the contract. A method without a row is refused to everybody."""

from typing import Literal, get_args

from service.callers import Caller
from service.errors import ScopeMissing

Scope = Literal["read", "submit", "predict", "metrics", "admin"]
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))

# By the full method name. A token needs exactly this scope; no scope holds another.
TABLE: dict[str, Scope] = {
    "traind.v1.UploadService.CreateUpload": "submit",
    "traind.v1.UploadService.GetUpload": "submit",
    "traind.v1.UploadService.WriteUpload": "submit",
    "traind.v1.DatasetService.CreateDataset": "submit",
    "traind.v1.DatasetService.UploadDataset": "submit",
    "traind.v1.DatasetService.GetDataset": "read",
    "traind.v1.DatasetService.ListDatasets": "read",
    "traind.v1.DatasetService.PreviewDataset": "read",
    "traind.v1.DatasetService.ProfileDataset": "read",
    "traind.v1.DatasetService.DownloadDataset": "read",
    "traind.v1.DatasetService.ProposeTraining": "read",
    "traind.v1.DatasetService.DeleteDataset": "submit",
    "traind.v1.JobService.CreateJob": "submit",
    "traind.v1.JobService.GetJob": "read",
    "traind.v1.JobService.ListJobs": "read",
    "traind.v1.JobService.ListQueue": "read",
    "traind.v1.JobService.CancelJob": "submit",
    "traind.v1.JobService.PauseJob": "submit",
    "traind.v1.JobService.ResumeJob": "submit",
    "traind.v1.JobService.RetryJob": "submit",
    "traind.v1.JobService.ForkJob": "submit",
    "traind.v1.JobService.WatchJob": "read",
    "traind.v1.JobService.GetHistory": "read",
    "traind.v1.ModelService.GetModel": "read",
    "traind.v1.ModelService.ListModels": "read",
    "traind.v1.ModelService.GetWeights": "read",
    "traind.v1.ModelService.GetSplit": "read",
    "traind.v1.ModelService.EvaluateModel": "predict",
    "traind.v1.ModelService.ExportModel": "read",
    "traind.v1.ModelService.ImportModel": "submit",
    "traind.v1.ModelService.DeleteModel": "submit",
    "traind.v1.ModelService.SetAlias": "submit",
    "traind.v1.ModelService.GetAlias": "read",
    "traind.v1.ModelService.ListAliases": "read",
    "traind.v1.ModelService.DeleteAlias": "submit",
    "traind.v1.PredictionService.Predict": "predict",
    "traind.v1.ServerService.GetServerInfo": "read",
    "inference.GRPCInferenceService.ModelReady": "predict",
    "inference.GRPCInferenceService.ServerMetadata": "predict",
    "inference.GRPCInferenceService.ModelMetadata": "predict",
    "inference.GRPCInferenceService.ModelInfer": "predict",
    "inference.GRPCInferenceService.RepositoryIndex": "predict",
}

# Paths of HTTP that are no method of the contract, and the scopes of which a token needs one. `/metrics` is open on a
# machine's own address where TRAIND_METRICS=loopback.
PATHS: dict[str, frozenset[Scope]] = {"/metrics": frozenset({"metrics", "admin"})}

# Services that answer without a token. Reflection is there only while the administrator has switched it on.
PUBLIC_SERVICES = frozenset(
    {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection"}
)
# What a balancer asks: whether the server runs, and nothing else.
PUBLIC_METHODS = frozenset({"inference.GRPCInferenceService.ServerLive", "inference.GRPCInferenceService.ServerReady"})


def is_public(method: str) -> bool:
    """Whether a method (`package.Service.Method`) answers without a token."""
    return method.rpartition(".")[0] in PUBLIC_SERVICES or method in PUBLIC_METHODS


def check_scope(caller: Caller, method: str) -> None:
    """Raise ScopeMissing unless the caller's token has the method's scope."""
    scope = TABLE.get(method)
    if scope is None:
        raise ScopeMissing(f"{method} is open to nobody", metadata={"method": method})
    if scope not in caller.scopes:
        raise ScopeMissing(
            f"this token lacks the scope {scope}; ask the administrator for a token that has it",
            metadata={"scope": scope, "method": method},
        )


def check_path(caller: Caller, path: str) -> None:
    """Raise ScopeMissing unless the caller's token has one of the scopes of a path that is no method."""
    scopes = PATHS.get(path, frozenset())
    if not scopes & caller.scopes:
        raise ScopeMissing(
            f"this token lacks the scope {' or '.join(sorted(scopes, reverse=True))}; ask the administrator for one "
            "that has it",
            metadata={"scope": ",".join(sorted(scopes)), "method": path},
        )
