"""What callers do with trained models: look, list, read the weights and the split, measure on a data set."""

import json
from collections.abc import Mapping, Sequence

from google.protobuf import empty_pb2, json_format
from google.protobuf.timestamp_pb2 import Timestamp

from service import datasets, references
from service.app import App
from service.callers import Caller
from service.data.splits import MOST_SPLIT_ROWS
from service.errors import InvalidField, ModelInUse, NotFound, TooLarge, Violation, WrongState, invalid, shown
from service.model_cache import unless_deleted
from service.modelling import measuring, specs, tensors
from service.modelling.predictor import decode_preprocessing
from service.paging import page_of
from service.store import aliases as alias_store
from service.store import artifacts
from service.store import models as model_store
from service.store.records import DatasetRow, ModelRow
from traind.v1 import losses_pb2, models_pb2, specs_pb2, tables_pb2

SHOWN_PARAMETERS = 200_000  # as JSON about 4 MiB, the largest message
NAMED_ALIASES = 5


def get_model(app: App, caller: Caller, request: models_pb2.GetModelRequest) -> models_pb2.Model:
    """One version of a model; the newest where none is named."""
    row = find_model(app, caller, request.name, "name")
    with app.database.read() as connection:
        aliases = alias_store.of_versions(connection, [row.id])
    return _encode(row, aliases.get(row.id, ()))


def list_models(app: App, caller: Caller, request: models_pb2.ListModelsRequest) -> models_pb2.ListModelsResponse:
    """A page of the caller's models, newest first."""
    aliases: dict[str, list[str]] = {}
    with app.database.read() as connection:

        def read(limit: int, before: tuple[float, str] | None) -> list[ModelRow]:
            rows = model_store.list_page(connection, caller.user_id, limit, before)
            aliases.update(alias_store.of_versions(connection, [row.id for row in rows]))
            return rows

        models, more = page_of(request, read, lambda row: _encode(row, aliases.get(row.id, ())))
    return models_pb2.ListModelsResponse(models=models, next_page_token=more)


def delete_model(app: App, caller: Caller, request: models_pb2.DeleteModelRequest) -> empty_pb2.Empty:
    """Delete a version; refused while an alias points to it. What predicts in this process stops at once."""
    reference = references.parse_reference("models", request.name, caller.user_name, "name")
    if reference.version is None:
        raise invalid(
            "name",
            f"{shown(request.name)} names no version; write models/{reference.slug}/versions/N: versions are deleted "
            "one by one",
        )
    with app.database.write() as connection:
        row = None
        if reference.owner_name == caller.user_name:
            alias_store.lock(connection, caller.user_id, reference.slug)
            row = model_store.find(connection, caller.user_id, reference.slug, reference.version)
        if row is None:
            raise references.not_found("models", request.name)
        _refuse_use(row, alias_store.of_versions(connection, [row.id]).get(row.id, ()))
        model_store.delete_version(connection, row.id)
    app.models.forget(row.id)
    app.names.changed()
    return empty_pb2.Empty()


def _refuse_use(row: ModelRow, aliases: Sequence[str]) -> None:
    """Raise ModelInUse if aliases point to the version."""
    if not aliases:
        return
    more = f" and {len(aliases) - NAMED_ALIASES} more" if len(aliases) > NAMED_ALIASES else ""
    raise ModelInUse(
        f"{row.name} has the alias {', '.join(aliases[:NAMED_ALIASES])}{more}; set it to another version or delete it "
        "first, then delete the version",
        metadata={"resource": row.name, "alias": aliases[0], "aliases": str(len(aliases))},
    )


def get_weights(app: App, caller: Caller, request: models_pb2.GetWeightsRequest) -> models_pb2.Weights:
    """The weights as numbers; refused for models that are too large to look at."""
    row = find_model(app, caller, request.name, "name")
    if row.parameter_count > SHOWN_PARAMETERS:
        raise TooLarge(
            f"the model has {row.parameter_count:,} parameters; weights are shown up to {SHOWN_PARAMETERS:,}",
            metadata={"parameters": str(row.parameter_count), "limit": str(SHOWN_PARAMETERS)},
        )
    with unless_deleted(app.database, row):
        weights = tensors.decode_tensors(artifacts.load(app.database, row.artifact_id))
    return models_pb2.Weights(
        weights={
            name: tables_pb2.Tensor(shape=list(tensor.shape), values=tensor.double().flatten().tolist())
            for name, tensor in weights.items()
        }
    )


def get_split(app: App, caller: Caller, request: models_pb2.GetSplitRequest) -> models_pb2.RowSplit:
    """Which rows of its data set a model was trained with and which were held out."""
    row = find_model(app, caller, request.name, "name")
    with app.database.read() as connection:
        rows = model_store.find_rows(connection, row.id)
    if rows is None:
        raise NotFound(f"{_name(row)} was made by a version of traind that did not record its rows; train it again")
    if rows.row_count > MOST_SPLIT_ROWS:
        raise TooLarge(
            f"the data set has {rows.row_count:,} rows; a split is told of up to {MOST_SPLIT_ROWS:,}",
            metadata={"rows": str(rows.row_count), "limit": str(MOST_SPLIT_ROWS)},
        )
    return models_pb2.RowSplit(
        dataset=row.dataset_name,
        row_count=rows.row_count,
        train_count=_count_bits(rows.train_rows),
        train_rows=rows.train_rows,
        val_count=_count_bits(rows.val_rows),
        val_rows=rows.val_rows,
    )


def _count_bits(data: bytes) -> int:
    return int.from_bytes(data, "little").bit_count()


def evaluate_model(app: App, caller: Caller, request: models_pb2.EvaluateModelRequest) -> models_pb2.Evaluation:
    """Measure a model on every row of a data set."""
    row = require_model(app, caller, request.name, "name")
    dataset = datasets.find_dataset(app, caller, request.dataset, "dataset")
    loss = request.loss if request.HasField("loss") else None
    check_fit(row, dataset, loss, "")
    predictor = app.models.get(app.database, row)
    table = datasets.open_table(app, dataset, predictor.columns)
    dof = request.dof if request.HasField("dof") else None
    measured = measuring.evaluate(predictor, table, loss, dof)
    return models_pb2.Evaluation(
        model=_name(row),
        dataset=references.version_name("datasets", dataset.owner_name, dataset.slug, dataset.version),
        row_count=measured.rows,
        metrics=_metrics(measured.figures),
        findings=measured.findings,
        confusion=measured.confusion,
    )


def find_model(app: App, caller: Caller, text: str, field: str) -> ModelRow:
    """The model that a caller means. Raises NotFound, or InvalidField naming `field`."""
    reference = references.parse_reference("models", text, caller.user_name, field)
    row = None
    if reference.owner_name == caller.user_name:
        with app.database.read() as connection:
            row = model_store.find(connection, caller.user_id, reference.slug, reference.version, reference.alias)
    if row is None:
        raise references.not_found("models", text)
    return row


def require_model(app: App, caller: Caller, text: str, field: str) -> ModelRow:
    """The model that a caller wants to use. Raises WrongState, too, where a job of theirs was to make it."""
    try:
        return find_model(app, caller, text, field)
    except NotFound as absent:
        maker = _find_maker(app, caller, references.parse_reference("models", text, caller.user_name, field))
        if maker is None:
            raise
        raise _not_made(text, maker) from absent


def _find_maker(app: App, caller: Caller, reference: references.Reference) -> model_store.Maker | None:
    if reference.owner_name != caller.user_name or reference.alias:
        return None
    with app.database.read() as connection:
        return model_store.find_maker(connection, caller.user_id, reference.slug, reference.version)


def _not_made(text: str, maker: model_store.Maker) -> WrongState:
    """A model that is not there because its job has not come to that, or never will."""
    job = f"jobs/{maker.job_id}"
    if maker.ended:
        told = f"{job}, which was to make it, is {maker.state}: GET /v1/{job} tells more; train it again"
    else:
        told = f"{job}, which is to make it, is {maker.state}; wait until it is SUCCEEDED"
    metadata = {"resource": text, "job": job, "state": maker.state}
    return WrongState(f"{shown(text)} is not made yet: {told}", metadata=metadata)


def check_fit(model: ModelRow, dataset: DatasetRow, loss: losses_pb2.Loss | None, prefix: str) -> None:
    """Refuse a data set without the model's columns, or with missing values that it does not take, and a loss that
    does not fit its target.
    """
    there = {column.name: column for column in datasets.columns_of(dataset)}
    field = "job.dataset" if prefix else "dataset"
    wanted = [*_columns(model.inputs_json), *_columns(model.outputs_json)]
    fitted, target = decode_preprocessing(model.preprocessing_json)
    gaps = {column.name for column in fitted.columns if column.takes_missing or column.drops}
    gaps |= set(target.names) if target.drops else set()
    wrong = [_misfit(field, column, there.get(column.name), gaps=column.name in gaps) for column in wanted]
    violations = [violation for violation in wrong if violation]
    if violations:
        raise InvalidField(violations[0].description, violations[:20])
    if loss is not None and loss.WhichOneof("kind"):
        spec = json_format.Parse(model.spec_json, specs_pb2.TrainSpec())
        problem = specs.loss_misfit(loss, spec.loss)
        if problem:
            raise invalid(f"{prefix}.loss" if prefix else "loss", problem)


def _misfit(field: str, wanted: tables_pb2.Column, there: tables_pb2.Column | None, *, gaps: bool) -> Violation | None:
    """What is wrong with a column; `gaps`: whether values may be missing."""
    if there is None:
        return Violation(field, f"has no column {shown(wanted.name)}, which the model needs")
    if there.missing_count and not gaps:
        return Violation(
            field,
            f"column {shown(wanted.name)} has {there.missing_count} missing values and the model takes none; drop "
            "these rows first, or train the model with impute",
        )
    return None


def _columns(columns_json: str) -> list[tables_pb2.Column]:
    return [json_format.ParseDict(column, tables_pb2.Column()) for column in json.loads(columns_json)]


def _metrics(figures: Mapping[str, float]) -> list[tables_pb2.Metric]:
    return [tables_pb2.Metric(name=name, value=figures[name]) for name in sorted(figures)]


def _name(row: ModelRow) -> str:
    return references.version_name("models", row.owner_name, row.slug, row.version)


def _encode(row: ModelRow, aliases: Sequence[str]) -> models_pb2.Model:
    created = Timestamp()
    created.FromMicroseconds(round(row.created_at * 1_000_000))
    origin = json_format.Parse(row.origin_json, models_pb2.Origin()) if row.origin_json else None
    return models_pb2.Model(
        name=_name(row),
        display_name=row.display_name,
        job=f"jobs/{row.job_id}",
        dataset=row.dataset_name,
        spec=json_format.Parse(row.spec_json, specs_pb2.TrainSpec()),
        inputs=_columns(row.inputs_json),
        outputs=_columns(row.outputs_json),
        metrics=_metrics(row.metrics),
        confusion=[
            json_format.ParseDict(matrix, tables_pb2.ConfusionMatrix()) for matrix in json.loads(row.confusion_json)
        ],
        findings=[json_format.ParseDict(finding, tables_pb2.Finding()) for finding in json.loads(row.findings_json)],
        parameter_count=row.parameter_count,
        weights_sha256=row.weights_sha256,
        size_bytes=row.size_bytes,
        best_epoch=row.best_epoch,
        engine=row.engine,
        create_time=created,
        origin=origin,
        aliases=aliases,
    )
