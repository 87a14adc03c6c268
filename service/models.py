"""What callers do with trained models: look, list, read the weights, measure on a data set."""

import json

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from service import datasets, references
from service.app import App, Caller
from service.errors import InvalidField, TooLarge, Violation, invalid
from service.modelling import specs, tensors
from service.store import artifacts
from service.store import models as model_store
from service.store.records import DatasetRow, ModelRow
from traind.v1 import losses_pb2, models_pb2, specs_pb2, tables_pb2

SHOWN_PARAMETERS = 200_000  # as JSON about 4 MiB, the largest message


def get_model(app: App, caller: Caller, request: models_pb2.GetModelRequest) -> models_pb2.Model:
    """One version of a model; the newest where none is named."""
    return _encode(find_model(app, caller, request.name, "name"))


def list_models(app: App, caller: Caller, request: models_pb2.ListModelsRequest) -> models_pb2.ListModelsResponse:
    """A page of the caller's models, newest first."""
    limit = references.page_limit(request.page_size)
    before = references.decode_page_token(request.page_token)
    with app.database.read() as connection:
        rows = model_store.list_page(connection, caller.user_id, limit + 1, before)
    more = references.encode_page_token(rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else ""
    return models_pb2.ListModelsResponse(models=[_encode(row) for row in rows[:limit]], next_page_token=more)


def get_weights(app: App, caller: Caller, request: models_pb2.GetWeightsRequest) -> models_pb2.Weights:
    """The weights as numbers; refused for models that are too large to look at."""
    row = find_model(app, caller, request.name, "name")
    if row.parameter_count > SHOWN_PARAMETERS:
        raise TooLarge(
            f"the model has {row.parameter_count:,} parameters; weights are shown up to {SHOWN_PARAMETERS:,}",
            metadata={"parameters": str(row.parameter_count), "limit": str(SHOWN_PARAMETERS)},
        )
    weights = tensors.decode_tensors(artifacts.load(app.database, row.artifact_id))
    return models_pb2.Weights(
        weights={
            name: tables_pb2.Tensor(shape=list(tensor.shape), values=tensor.double().flatten().tolist())
            for name, tensor in weights.items()
        }
    )


def evaluate_model(app: App, caller: Caller, request: models_pb2.EvaluateModelRequest) -> models_pb2.Evaluation:
    """Measure a model on every row of a data set."""
    row = find_model(app, caller, request.name, "name")
    dataset = datasets.find_dataset(app, caller, request.dataset, "dataset")
    loss = request.loss if request.HasField("loss") else None
    check_fit(row, dataset, loss, "")
    predictor = app.models.get(app.database, row)
    table = datasets.open_table(app, dataset, predictor.columns)
    dof = request.dof if request.HasField("dof") else None
    figures, findings = predictor.evaluate(table, loss, dof)
    return models_pb2.Evaluation(
        model=_name(row),
        dataset=references.version_name("datasets", dataset.owner_name, dataset.slug, dataset.version),
        row_count=table.row_count,
        metrics=[tables_pb2.Metric(name=name, value=figures[name]) for name in sorted(figures)],
        findings=findings,
    )


def find_model(app: App, caller: Caller, text: str, field: str) -> ModelRow:
    """The model that a caller means. Raises NotFound, or InvalidField naming `field`."""
    reference = references.parse_reference("models", text, caller.user_name, field)
    row = None
    if reference.owner_name == caller.user_name:
        with app.database.read() as connection:
            row = model_store.find(connection, caller.user_id, reference.slug, reference.version)
    if row is None:
        raise references.not_found("models", text)
    return row


def check_fit(model: ModelRow, dataset: DatasetRow, loss: losses_pb2.Loss | None, prefix: str) -> None:
    """Refuse a data set without the model's columns, and a loss that does not fit its target."""
    there = {column.name: column for column in datasets.columns_of(dataset)}
    field = "job.dataset" if prefix else "dataset"
    wanted = [*_columns(model.inputs_json), *_columns(model.outputs_json)]
    wrong = [_misfit(field, column, there.get(column.name)) for column in wanted]
    violations = [violation for violation in wrong if violation]
    if violations:
        raise InvalidField(violations[0].description, violations[:20])
    if loss is not None and loss.WhichOneof("kind"):
        spec = json_format.Parse(model.spec_json, specs_pb2.TrainSpec())
        problem = specs.loss_misfit(loss, spec.loss)
        if problem:
            raise invalid(f"{prefix}.loss" if prefix else "loss", problem)


def _misfit(field: str, wanted: tables_pb2.Column, there: tables_pb2.Column | None) -> Violation | None:
    if there is None:
        return Violation(field, f"has no column {wanted.name}, which the model needs")
    if there.missing_count:
        return Violation(field, f"column {wanted.name} has {there.missing_count} missing values; drop these rows first")
    return None


def _columns(columns_json: str) -> list[tables_pb2.Column]:
    return [json_format.ParseDict(column, tables_pb2.Column()) for column in json.loads(columns_json)]


def _name(row: ModelRow) -> str:
    return references.version_name("models", row.owner_name, row.slug, row.version)


def _encode(row: ModelRow) -> models_pb2.Model:
    figures = row.metrics
    created = Timestamp()
    created.FromMicroseconds(round(row.created_at * 1_000_000))
    return models_pb2.Model(
        name=_name(row),
        display_name=row.display_name,
        job=f"jobs/{row.job_id}",
        dataset=row.dataset_name,
        spec=json_format.Parse(row.spec_json, specs_pb2.TrainSpec()),
        inputs=_columns(row.inputs_json),
        outputs=_columns(row.outputs_json),
        metrics=[tables_pb2.Metric(name=name, value=figures[name]) for name in sorted(figures)],
        findings=[json_format.ParseDict(finding, tables_pb2.Finding()) for finding in json.loads(row.findings_json)],
        parameter_count=row.parameter_count,
        weights_sha256=row.weights_sha256,
        size_bytes=row.size_bytes,
        best_epoch=row.best_epoch,
        engine=row.engine,
        create_time=created,
    )
