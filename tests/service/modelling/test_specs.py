"""Defaults are filled in, and what cannot be learned is refused by the path of its field."""

import pytest
from google.protobuf import json_format

from service.errors import InvalidField
from service.modelling import specs
from service.modelling.inputs import InputLayout
from tests.service.modelling.cases import Column, given, spec_of
from traind.v1 import specs_pb2, tables_pb2

COLUMNS = [
    Column(name="area", type=Column.NUMBER),
    Column(name="rooms", type=Column.INTEGER),
    Column(name="garden", type=Column.BOOLEAN),
    Column(name="city", type=Column.CATEGORY, categories=["Busan", "Daegu", "Seoul"]),
    Column(name="sold", type=Column.CATEGORY, categories=["no", "yes"]),
    Column(name="country", type=Column.CATEGORY, categories=["Korea"]),
    Column(name="note", type=Column.TEXT),
    Column(name="seen", type=Column.TIMESTAMP),
    Column(name="age", type=Column.NUMBER, missing_count=4),
    Column(name="price", type=Column.NUMBER),
]
LINEAR = {"linear": {}}
MLP = {"mlp": {"hidden": [4]}}


def resolve(spec, rows=100):
    return specs.resolve(
        spec_of({"inputs": ["area", "rooms"], "target": ["price"], "network": LINEAR} | spec), COLUMNS, rows
    )


def refusals(spec, rows=100):
    with pytest.raises(InvalidField) as raised:
        resolve(spec, rows)
    return {violation.field.removeprefix("job.train."): violation.description for violation in raised.value.violations}


def test_every_default_of_a_regression():
    assert json_format.MessageToDict(resolve({})) == {
        "inputs": ["area", "rooms"],
        "target": ["price"],
        "network": {"linear": {"bias": True, "initialisation": "UNIFORM"}},
        "preprocess": {
            "scale": "STANDARD",
            "unseen": "REFUSE",
            "target": {"transform": "IDENTITY", "scale": "NONE", "missing": "REFUSE"},
        },
        "split": {"holdOut": {"fraction": 0.2, "stratify": False}},
        "loss": {"mse": {"reduction": "MEAN"}},
        "learn": {
            "gradient": {
                "optimizer": {"adam": {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}},
                "epochs": 10,
                "batchSize": 32,
                "keep": "BEST",
                "path": "WRITTEN_OUT",
                "checkpoints": {"everyEpochs": 1, "everySeconds": 60.0},
            }
        },
        "dtype": "FLOAT32",
    }


def test_every_default_of_classes():
    two = resolve({"target": ["sold"], "network": MLP})
    assert json_format.MessageToDict(two.loss) == {"bce": {"reduction": "MEAN", "positiveWeight": 1.0}}
    assert two.split.hold_out.stratify
    assert json_format.MessageToDict(two.network) == {
        "mlp": {
            "hidden": [4],
            "activation": "RELU",
            "bias": True,
            "normalisation": "NO_NORMALISATION",
            "initialisation": "UNIFORM",
        }
    }
    three = resolve({"target": ["city"], "network": MLP})
    assert three.loss.WhichOneof("kind") == "cross_entropy"
    assert resolve({"target": ["garden"]}).loss.WhichOneof("kind") == "bce"


def test_other_ways_to_learn_have_their_defaults():
    perceptron = resolve({"target": ["sold"], "network": {"perceptron": {}}})
    assert perceptron.learn.perceptron_rule.epochs == 100
    assert perceptron.network.perceptron.bias
    assert not perceptron.HasField("loss")
    assert resolve({"learn": {"exact": {}}}).dtype == specs_pb2.TrainSpec.FLOAT64
    descent = resolve({"learn": {"gradient": {"optimizer": {"gradientDescent": {}}}}}).learn.gradient
    assert descent.optimizer.gradient_descent.lr == 0.01
    assert not descent.HasField("batch_size")
    assert resolve({"learn": {"gradient": {"optimizer": {"sgd": {}}}}}).learn.gradient.optimizer.sgd.lr == 0.01


def test_what_was_chosen_stays():
    spec = {
        "network": {"linear": {"bias": False, "initialisation": "ORTHOGONAL"}},
        "preprocess": {
            "scale": "MIN_MAX",
            "unseen": "UNKNOWN",
            "target": {"transform": "LOG1P", "scale": "ROBUST", "missing": "DROP_ROW"},
        },
        "split": {"holdOut": {"fraction": 0.5}},
        "loss": {"mae": {"reduction": "SUM"}},
        "learn": {
            "gradient": {
                "optimizer": {"adam": {"lr": 0.5, "beta1": 0.0, "beta2": 0.1, "eps": 1e-3, "weightDecay": 2}},
                "epochs": 3,
                "batchSize": 7,
                "keep": "LAST",
                "checkpoints": {"everyEpochs": 3, "everySeconds": 0.5},
                "path": "GENERAL",
            }
        },
        "dtype": "FLOAT64",
        "seed": 4294967295,
    }
    resolved = json_format.MessageToDict(resolve(spec))
    spec["learn"]["gradient"]["optimizer"]["adam"]["weightDecay"] = 2.0
    spec["split"]["holdOut"]["stratify"] = False
    assert resolved == spec | {"inputs": ["area", "rooms"], "target": ["price"]}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"target": ["city"], "network": MLP},
        {"target": ["sold"], "network": {"perceptron": {}}},
        {"learn": {"exact": {}}},
        {"learn": {"gradient": {"optimizer": {"gradientDescent": {}}}}},
        {"learn": {"gradient": {"optimizer": {"sgd": {"momentum": 0.9, "nesterov": True}}}}},
    ],
)
@pytest.mark.parametrize("rows", [4, 100])
def test_a_resolved_spec_resolves_to_itself(spec, rows):
    once = resolve(spec, rows)
    assert specs.resolve(once, COLUMNS, rows) == once


def test_inputs_are_every_column_that_can_be_learned_from():
    usable = [column for column in COLUMNS if column.name != "age"]
    resolved = specs.resolve(spec_of({"target": ["price"], "network": LINEAR}), usable, 100)
    assert list(resolved.inputs) == ["area", "rooms", "garden", "city", "sold", "country"]


def test_batches_are_no_larger_than_the_table():
    assert resolve({}, rows=5).learn.gradient.batch_size == 5
    assert refusals({"learn": {"gradient": {"batchSize": 6}}}, rows=5) == {
        "learn.gradient.batch_size": "is 6 and the data set has 5 rows; at most so many"
    }


def test_few_rows_are_not_split_unless_it_is_asked_for():
    assert resolve({}, rows=19).split.WhichOneof("kind") == "none"
    assert resolve({}, rows=20).split.hold_out.fraction == 0.2
    assert resolve({"split": {"holdOut": {}}}, rows=19).split.hold_out.fraction == 0.2
    spec = spec_of({"target": ["price"], "network": LINEAR})
    (finding,) = specs.auto_findings(spec, resolve({}, rows=19), 19)
    assert finding.code == tables_pb2.Finding.NO_HOLD_OUT
    assert dict(finding.figures) == {"rows": 19, "limit": 20}
    assert specs.auto_findings(spec, resolve({}, rows=20), 20) == []
    chosen = spec_of({"target": ["price"], "network": LINEAR, "split": {"none": {}}})
    assert specs.auto_findings(chosen, resolve({"split": {"none": {}}}, rows=3), 3) == []


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"target": ["prise"]}, "target[0]", 'no column "prise"; did you mean "price"?'),
        ({"target": ["zzz"]}, "target[0]", 'there are "area", "rooms"'),
        ({"inputs": ["rooms", "aera"]}, "inputs[1]", 'did you mean "area"?'),
        ({"inputs": ["area", "price"]}, "inputs[1]", '"price" is the target'),
        ({"inputs": ["note"]}, "inputs[0]", '"note" is TEXT'),
        ({"inputs": ["seen"]}, "inputs[0]", '"seen" is TIMESTAMP'),
        ({"target": ["note"]}, "target[0]", '"note" is TEXT'),
        ({"inputs": ["area", "age"]}, "inputs[1]", '"age" has 4 missing values, allowed are 0 without impute'),
        ({"inputs": []}, "inputs", '"age" has 4 missing values'),
        ({"target": ["age"]}, "target[0]", '"age" has 4 missing values'),
        ({"target": ["country"]}, "target[0]", '"country" has one class only'),
        ({"target": ["city"], "loss": {"mse": {}}}, "loss", "holds 3 classes; use cross_entropy"),
        ({"target": ["sold"], "loss": {"mae": {}}}, "loss", "holds 2 classes; use bce or cross_entropy"),
        ({"target": ["city"], "loss": {"bce": {}}}, "loss", 'bce tells 2 classes apart and column "city" has 3'),
        ({"loss": {"crossEntropy": {}}}, "loss", 'column "price" holds numbers; use mse, mae, huber or gaussian_nll'),
        ({"loss": {"bce": {}}}, "loss", 'column "price" holds numbers'),
        ({"network": {"perceptron": {}}}, "target[0]", '"price" holds numbers; use linear or mlp'),
        ({"network": {"perceptron": {}}, "target": ["city"]}, "target[0]", 'tells 2 classes apart and "city" has 3'),
        ({"network": {"perceptron": {}}, "target": ["sold"], "loss": {"bce": {}}}, "loss", "leave the loss out"),
        (
            {"network": {"perceptron": {}}, "target": ["sold"], "learn": {"gradient": {}}},
            "learn.gradient",
            "use perceptron_rule",
        ),
        (
            {"network": MLP, "learn": {"perceptronRule": {}}},
            "learn.perceptron_rule",
            "the network is mlp; use gradient",
        ),
        ({"network": MLP, "learn": {"exact": {}}}, "learn.exact", "this is mlp; use linear"),
        ({"loss": {"mae": {}}, "learn": {"exact": {}}}, "learn.exact", "the loss is mae; use gradient"),
        ({"target": ["sold"], "learn": {"exact": {}}}, "learn.exact", "the loss is bce"),
        (
            {"network": {"mlp": {"hidden": [2], "activation": "STEP"}}},
            "network.mlp.activation",
            "STEP has no gradient to descend; use SIGMOID, TANH or RELU",
        ),
        (
            {"learn": {"gradient": {"optimizer": {"sgd": {"nesterov": True}}}}},
            "learn.gradient.optimizer.sgd.nesterov",
            "needs a momentum above 0",
        ),
        (
            {"learn": {"gradient": {"optimizer": {"gradientDescent": {}}, "batchSize": 8}}},
            "learn.gradient.batch_size",
            "leave batch_size out, or use sgd",
        ),
        ({"split": {"holdOut": {"stratify": True}}}, "split.hold_out.stratify", "the target is a number"),
    ],
)
def test_refused(spec, field, words):
    found = refusals(spec)
    assert list(found) == [field]
    assert words in found[field]


def test_one_row_cannot_be_split():
    assert "needs 2 rows" in refusals({"split": {"holdOut": {}}}, rows=1)["split.hold_out"]


def test_a_table_with_the_target_alone():
    with pytest.raises(InvalidField) as raised:
        specs.resolve(spec_of({"target": ["price"], "network": LINEAR}), [COLUMNS[-1], COLUMNS[6]], 100)
    assert raised.value.violations[0].field == "job.train.inputs"


def test_violations_come_together():
    found = refusals(
        {
            "inputs": ["aera", "note", "price"],
            "network": {"mlp": {"hidden": [2], "activation": "STEP"}},
            "loss": {"bce": {}},
            "learn": {"gradient": {"batchSize": 1000}},
        }
    )
    assert list(found) == [
        "inputs[0]",
        "inputs[1]",
        "inputs[2]",
        "loss",
        "network.mlp.activation",
        "learn.gradient.batch_size",
    ]


def test_at_most_twenty_violations():
    with pytest.raises(InvalidField) as raised:
        resolve({"inputs": [f"column {number}" for number in range(50)]})
    assert len(raised.value.violations) == 20
    assert "and 49 more" in str(raised.value)


def test_layers_are_bounded():
    assert resolve({"network": {"mlp": {"hidden": [1] * 512}}})
    assert "allowed are 512" in refusals({"network": {"mlp": {"hidden": [1] * 513}}})["network.mlp.hidden"]


def test_whole_numbers_are_classes_where_loss_or_network_say_so():
    assert specs.task_of(resolve({"target": ["rooms"], "inputs": ["area"]})) == "regression"
    classes = resolve({"target": ["rooms"], "inputs": ["area"], "loss": {"crossEntropy": {}}})
    assert specs.task_of(classes) == "multiclass"
    assert classes.split.hold_out.stratify
    assert specs.task_of(resolve({"target": ["rooms"], "inputs": ["area"], "loss": {"bce": {}}})) == "binary"
    perceptron = resolve({"target": ["rooms"], "inputs": ["area"], "network": {"perceptron": {}}})
    assert specs.task_of(perceptron) == "binary"


@pytest.mark.parametrize(
    ("spec", "widths"),
    [
        ({}, (2, 1)),
        ({"inputs": ["area", "city", "garden"]}, (1 + 3 + 2, 1)),
        ({"target": ["city"]}, (2, 3)),
        ({"target": ["sold"]}, (2, 1)),
        ({"target": ["sold"], "loss": {"crossEntropy": {}}}, (2, 2)),
        ({"target": ["sold"], "network": {"perceptron": {}}}, (2, 1)),
        ({"target": ["price", "area"], "inputs": ["rooms"]}, (1, 2)),
        ({"target": ["price", "area"], "inputs": ["rooms"], "loss": {"gaussianNll": {}}}, (1, 4)),
    ],
)
def test_widths(spec, widths):
    assert specs.widths(resolve(spec), COLUMNS) == (InputLayout(widths[0]), widths[1])


def test_epochs():
    assert specs.epochs_of(resolve({"learn": {"gradient": {"epochs": 7}}})) == 7
    assert specs.epochs_of(resolve({"target": ["sold"], "network": {"perceptron": {}}})) == 100
    assert specs.epochs_of(resolve({"learn": {"exact": {}}})) == 0
    assert specs.epochs_of(resolve(given(weight=[[1.0, 2.0]], bias=[0.0]))) == 0


def test_given_weights_fit_the_network():
    resolved = resolve(given(weight=[[1.0, 2.0]], bias=[0.5]))
    assert list(resolved.learn.given.weights["weight"].values) == [1, 2]
    assert resolved.dtype == specs_pb2.TrainSpec.FLOAT32


@pytest.mark.parametrize(
    ("weights", "field", "words"),
    [
        ({"weight": [[1.0, 2.0]]}, 'learn.given.weights["bias"]', "missing; shape [1]"),
        ({"weight": [[1.0, 2.0]], "bias": [0.0], "b": [1.0]}, 'learn.given.weights["b"]', 'it has "weight", "bias"'),
        (
            {"weight": [[1.0], [2.0]], "bias": [0.0]},
            'learn.given.weights["weight"]',
            "has shape [2, 1]; the network's is [1, 2]",
        ),
        ({"weight": [[1.0, float("nan")]], "bias": [0.0]}, 'learn.given.weights["weight"]', "must be finite"),
        ({"weight": [[1.0, 2.0]], "bias": [float("inf")]}, 'learn.given.weights["bias"]', "must be finite"),
    ],
)
def test_given_weights_refused(weights, field, words):
    found = refusals(given(**weights))
    assert list(found) == [field]
    assert words in found[field]


def test_given_values_are_as_many_as_their_shape_holds():
    spec = given(weight=[[1.0, 2.0]], bias=[0.0])
    spec["learn"]["given"]["weights"]["weight"]["values"] = [1.0]
    assert refusals(spec) == {'learn.given.weights["weight"]': "has 1 values; its shape [1, 2] holds 2"}


def test_given_weights_of_unknown_classes_wait_for_the_rows():
    spec = {"target": ["rooms"], "inputs": ["area"], "loss": {"crossEntropy": {}}}
    assert resolve(spec | given(weight=[[1.0]] * 5, bias=[0.0] * 5))


def test_categories_that_are_not_all_told():
    many = [f"c{number}" for number in range(1000)]
    for told in ([], many):
        columns = [Column(name="c", type=Column.CATEGORY, categories=told), *COLUMNS[:2]]
        spec = {"inputs": ["area"], "target": ["c"], "network": LINEAR}
        resolved = specs.resolve(spec_of(spec), columns, 5000)
        assert resolved.loss.WhichOneof("kind") == "cross_entropy"
        assert specs.widths(resolved, columns) == (InputLayout(1), 1000)
        # Whether given weights fit is seen when the rows are read.
        assert specs.resolve(spec_of(spec | given(weight=[[1.0]] * 1234, bias=[0.0] * 1234)), columns, 5000)
        spec = {"inputs": ["c"], "target": ["area"], "network": LINEAR}
        assert specs.resolve(spec_of(spec | given(weight=[[1.0] * 1234], bias=[0.0])), columns, 5000)


@pytest.mark.parametrize(
    ("asked", "trained", "fits"),
    [
        ("mse", "mae", True),
        ("mae", "mse", True),
        ("bce", "cross_entropy", True),
        ("cross_entropy", "bce", True),
        ("mse", "bce", False),
        ("bce", "mse", False),
        ("cross_entropy", "mae", False),
        ("bce", None, False),
    ],
)
def test_losses_that_a_model_can_be_measured_by(asked, trained, fits):
    known = spec_of({"loss": {trained: {}}} if trained else {}).loss
    assert (specs.loss_misfit(spec_of({"loss": {asked: {}}}).loss, known) == "") == fits
