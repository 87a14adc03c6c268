"""Batch predictions before they are queued: the model found, its columns looked for, the answer's size counted."""

from google.protobuf import json_format

from service import admission, datasets, models, references
from service.app import App
from service.callers import Caller
from service.data.reading.names import COLUMNS, NAME_CHARACTERS
from service.data.reading.source import CELLS
from service.data.table import CATEGORICAL, NUMERIC
from service.data.targets import Target
from service.errors import InvalidField, Violation, invalid, shown
from service.modelling import answers
from service.modelling.answers import Answers
from service.modelling.predictor import decode_preprocessing, input_columns
from service.store.records import DatasetRow
from traind.v1 import jobs_pb2, specs_pb2, tables_pb2

Column = tables_pb2.Column

BEHIND = "-predictions"
# So that the id of the rejected rows is one too; as in the contract.
LONGEST_OUTPUT = 63 - len(answers.REJECTED)
_KINDS = (NUMERIC, CATEGORICAL, frozenset({Column.TIMESTAMP}))


def admit(app: App, caller: Caller, job: jobs_pb2.Job, dataset: DatasetRow) -> None:
    """Make the names of a job that predicts canonical, count its slices and its memory, and refuse what cannot be.

    Raises InvalidField, NotFound (the model), WrongState (a model that is not made yet), TooManyParameters.
    """
    task = job.predict
    model = models.require_model(app, caller, task.model, "job.predict.model")
    task.model = references.version_name("models", model.owner_name, model.slug, model.version)
    task.output = _output(task.output, dataset)
    spec = json_format.Parse(model.spec_json, specs_pb2.TrainSpec())
    fitted, target = decode_preprocessing(model.preprocessing_json)
    columns = datasets.columns_of(dataset)
    _check_columns(input_columns(fitted), columns)
    wanted = task.probabilities or not task.HasField("probabilities")
    told = Answers.of(spec, target, probabilities=wanted)
    _check_kept(task, columns, told)
    count = 1 + len(task.keep_columns) + len(told.columns)
    _check_size(dataset.row_count, count, told, target)
    job.model = ""
    job.parameter_count = model.parameter_count
    job.epochs = answers.slice_count(dataset.row_count, count, dataset.size_bytes)
    admission.admit_prediction(app.settings, job, spec, fitted.layout, dataset, count)


def _output(asked: str, dataset: DatasetRow) -> str:
    """The id of the data set that comes out."""
    output = asked or f"{dataset.slug}{BEHIND}"
    if len(output) > LONGEST_OUTPUT:
        raise invalid(
            "job.predict.output",
            f"is empty, and {shown(output)} has {len(output)} characters, where {LONGEST_OUTPUT} are the most; give an "
            "id of your own",
        )
    if dataset.slug in {output, f"{output}{answers.REJECTED}"}:
        raise invalid(
            "job.predict.output",
            f"{shown(output)} would make the predictions a version of the data set that they are made of; give another "
            "id",
        )
    return output


def _check_columns(inputs: list[Column], columns: list[Column]) -> None:
    """Refuse a data set without the model's inputs. What single rows lack is told of them by the job."""
    there = {column.name: column for column in columns}
    violations = [
        Violation("job.dataset", problem) for wanted in inputs if (problem := _problem(wanted, there.get(wanted.name)))
    ]
    if violations:
        raise InvalidField(violations[0].description, violations[:20], {"field": "job.dataset"})


def _problem(wanted: Column, there: Column | None) -> str:
    if there is None:
        return f"has no column {shown(wanted.name)}, which the model needs; upload the data set with it"
    if any(wanted.type in kind and there.type in kind for kind in _KINDS):
        return ""
    was, now = Column.Type.Name(wanted.type), Column.Type.Name(there.type)
    return (
        f"column {shown(wanted.name)} was {was} in training and is {now} here; upload the data set with a schema that "
        "says so"
    )


def _check_kept(task: jobs_pb2.PredictSpec, columns: list[Column], told: Answers) -> None:
    """Refuse columns that are not there, and names that would stand twice or be too long."""
    names, made = {column.name for column in columns}, {answers.ROW, *(column.name for column in told.columns)}
    for index, name in enumerate(task.keep_columns):
        field = f"job.predict.keep_columns[{index}]"
        if name not in names:
            listed = ", ".join(column.name for column in columns[:20]) + (", …" if len(columns) > 20 else "")
            raise invalid(field, f"there is no column {shown(name)} in the data set; there are {listed}")
        if name in made:
            raise invalid(field, f"{shown(name)} is the name of a column of predictions too; leave it out")
    if longest := next((column.name for column in told.columns if len(column.name) > NAME_CHARACTERS), ""):
        raise invalid(
            "job.predict.probabilities",
            f"the column {shown(longest)} would have a name of {len(longest)} characters, where {NAME_CHARACTERS} are "
            "the most; set it to false, or train a model with shorter names",
        )


def _check_size(rows: int, columns: int, told: Answers, target: Target) -> None:
    """Refuse an answer that no data set can be."""
    cure = "set job.predict.probabilities to false" if told.probabilities else "keep fewer columns"
    if columns > COLUMNS:
        raise invalid(
            "job.predict",
            f"makes {columns:,} columns ({len(target.classes):,} classes), where a data set has at most {COLUMNS:,}; "
            f"{cure}",
        )
    if rows * columns > CELLS:
        raise invalid(
            "job.predict",
            f"makes {rows:,} rows of {columns:,} columns, where a data set has at most {CELLS:,} cells; {cure}, or "
            "predict a part of the rows at a time",
        )
