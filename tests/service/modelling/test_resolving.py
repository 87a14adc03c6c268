"""Groups of columns, splits, losses, schedules: each default, each refusal by the path of its field."""

import pytest
from google.protobuf import json_format

from service.errors import InvalidField
from service.modelling import specs
from service.modelling.inputs import Embedded, InputLayout
from tests.service.modelling.cases import Column, spec_of
from traind.v1 import learning_pb2

COLUMNS = [
    Column(name="area", type=Column.NUMBER),
    Column(name="age", type=Column.NUMBER, missing_count=4),
    Column(name="rooms", type=Column.INTEGER),
    Column(name="garden", type=Column.BOOLEAN),
    Column(name="city", type=Column.CATEGORY, categories=["Busan", "Daegu", "Seoul"], missing_count=2),
    Column(name="part", type=Column.CATEGORY, categories=["train", "val"]),
    Column(name="sold", type=Column.CATEGORY, categories=["no", "yes"]),
    Column(name="note", type=Column.TEXT),
    Column(name="seen", type=Column.TIMESTAMP),
    Column(name="price", type=Column.NUMBER),
    Column(name="rent", type=Column.NUMBER, missing_count=3),
]
LINEAR, MLP = {"linear": {}}, {"mlp": {"hidden": [8, 8]}}
AREA = {"inputs": ["area"], "target": ["price"], "network": LINEAR}


def resolve(spec, rows=100):
    return specs.resolve(spec_of(AREA | spec), COLUMNS, rows)


def refusals(spec, rows=100):
    with pytest.raises(InvalidField) as raised:
        resolve(spec, rows)
    return {violation.field.removeprefix("job.train."): violation.description for violation in raised.value.violations}


def grouped(*groups, **more):
    names = [name for group in groups for name in group["columns"]]
    return {"inputs": names, "preprocess": {"groups": list(groups)}} | more


def group_of(*groups, **more):
    return [json_format.MessageToDict(group) for group in resolve(grouped(*groups, **more)).preprocess.groups]


def test_defaults_of_groups():
    numbers, categories, times = group_of(
        {"columns": ["area", "age"], "impute": {}, "clip": {}},
        {"columns": ["city", "garden"], "impute": {}},
        {"columns": ["seen"], "dateParts": ["YEAR", "WEEKDAY"], "impute": {"how": "CONSTANT"}},
    )
    assert numbers == {
        "columns": ["area", "age"],
        "impute": {"how": "MEDIAN"},
        "clip": {"quantile": 0.01},
        "transform": "IDENTITY",
        "scale": "STANDARD",
    }
    assert categories == {
        "columns": ["city", "garden"],
        "impute": {"how": "MOST_FREQUENT"},
        "encode": {"oneHot": {}},
        "unseen": "REFUSE",
    }
    assert times == {
        "columns": ["seen"],
        "impute": {"how": "CONSTANT", "number": 0.0},
        "dateParts": ["YEAR", "WEEKDAY"],
        "scale": "STANDARD",
    }


def test_groups_take_over_what_the_whole_says():
    resolved = resolve(
        {
            "inputs": ["area", "garden"],
            "preprocess": {
                "scale": "ROBUST",
                "unseen": "UNKNOWN",
                "groups": [{"columns": ["area"]}, {"columns": ["garden"], "encode": {"ordinal": {}}}],
            },
        }
    )
    numbers, categories = (json_format.MessageToDict(group) for group in resolved.preprocess.groups)
    assert numbers["scale"] == "ROBUST"
    assert categories["unseen"] == "UNKNOWN"


@pytest.mark.parametrize(
    "spec",
    [
        grouped({"columns": ["age"], "impute": {"indicator": True}, "clip": {"low": 0}, "transform": "LOG1P"}),
        grouped({"columns": ["city"], "impute": {"how": "CONSTANT"}, "encode": {"embedding": {}}}, network=MLP),
        grouped({"columns": ["seen"], "dateParts": ["DAYS"]}, split={"time": {"column": "seen"}}),
        {"loss": {"huber": {}}, "split": {"column": {"column": "part", "heldOut": ["val"]}}},
        {"target": ["sold"], "loss": {"crossEntropy": {"classWeights": {"balanced": True}}}},
        {"learn": {"gradient": {"optimizer": {"lbfgs": {}}, "schedule": {"reduceOnPlateau": {}}}}},
        {"learn": {"gradient": {"earlyStopping": {}, "clip": {"norm": 1.0}, "maxSeconds": 5}}},
    ],
)
def test_a_resolved_spec_resolves_to_itself(spec):
    once = resolve(spec)
    assert specs.resolve(once, COLUMNS, 100) == once


def test_layouts():
    spec = grouped(
        {"columns": ["age"], "impute": {"indicator": True}},
        {"columns": ["city"], "impute": {"how": "CONSTANT"}, "encode": {"embedding": {"width": 5}}},
        {"columns": ["seen"], "dateParts": ["YEAR", "MONTH", "DAY"]},
        {"columns": ["garden"], "encode": {"ordinal": {}}},
        {"columns": ["part"]},
        network=MLP,
    )
    layout, _ = specs.widths(resolve(spec), COLUMNS)
    # age and its indicator, city with a category for what is missing, three parts, a code, two categories
    assert layout == InputLayout(2 + 1 + 3 + 1 + 2, (Embedded(2, 4, 5),))
    assert layout.width == 2 + 5 + 3 + 1 + 2


def test_embeddings_are_as_wide_as_their_categories_ask_for():
    (group,) = group_of({"columns": ["part"], "encode": {"embedding": {}}}, network=MLP)
    assert group["encode"] == {"embedding": {"width": 1}}
    many = Column(name="many", type=Column.CATEGORY, categories=[f"c{n}" for n in range(400)])
    spec = spec_of(AREA | grouped({"columns": ["many"], "encode": {"embedding": {}}}, network=MLP))
    resolved = specs.resolve(spec, [*COLUMNS, many], 100)
    assert resolved.preprocess.groups[0].encode.embedding.width == 50


@pytest.mark.parametrize(
    ("group", "field", "words"),
    [
        ({"columns": ["area", "city"]}, "columns", '"area" holds numbers and "city" categories'),
        ({"columns": ["note"]}, "columns", '"note" is TEXT'),
        ({"columns": ["area"], "encode": {"oneHot": {}}}, "encode", 'does not fit "area", which is NUMBER'),
        ({"columns": ["area"], "unseen": "UNKNOWN"}, "unseen", "it takes impute, clip, transform, scale"),
        ({"columns": ["part"], "scale": "NONE"}, "scale", 'does not fit "part", which is CATEGORY'),
        ({"columns": ["part"], "clip": {}}, "clip", "it takes impute, encode, unseen"),
        ({"columns": ["seen"], "transform": "LOG1P", "dateParts": ["DAY"]}, "transform", "TIMESTAMP"),
        ({"columns": ["seen"]}, "date_parts", "is required for timestamps"),
        ({"columns": ["city"], "impute": {"how": "MEAN"}}, "impute.how", "MEAN is for numbers"),
        ({"columns": ["age"], "impute": {"how": "DROP_ROW", "indicator": True}}, "impute.indicator", "leave it out"),
        ({"columns": ["age"], "impute": {"number": 3}}, "impute.number", "CONSTANT"),
        ({"columns": ["age"], "impute": {"how": "CONSTANT", "text": "x"}}, "impute.text", "categories"),
        ({"columns": ["area"], "clip": {"low": 2, "high": 1}}, "clip.low", "is 2, above high, 1"),
        ({"columns": ["area"], "clip": {"low": 1, "high": 2, "quantile": 0.1}}, "clip.quantile", "both are"),
    ],
)
def test_groups_refused(group, field, words):
    found = refusals(grouped(group))
    path = f"preprocess.groups[0].{field}"
    assert path in found
    assert words in found[path]


def test_columns_of_groups_refused():
    spec = {
        "inputs": ["area", "age", "rooms"],
        "preprocess": {
            "groups": [
                {"columns": ["area", "aera"]},
                {"columns": ["area", "price", "city"], "impute": {}},
            ]
        },
    }
    found = refusals(spec)
    assert 'did you mean "area"?' in found["preprocess.groups[0].columns[1]"]
    assert "stands in another group too" in found["preprocess.groups[1].columns[0]"]
    assert "is a target" in found["preprocess.groups[1].columns[1]"]
    assert '"city" is no input' in found["preprocess.groups[1].columns[2]"]


def test_missing_values_need_a_word():
    assert "allowed are 0 without impute" in refusals({"inputs": ["age"]})["inputs[0]"]
    assert resolve(grouped({"columns": ["age"], "impute": {"how": "DROP_ROW"}}))
    missing = refusals({"target": ["rent"]})["target[0]"]
    assert "3 missing values" in missing
    assert "preprocess.target.missing = DROP_ROW" in missing
    assert resolve({"target": ["rent"], "preprocess": {"target": {"missing": "DROP_ROW"}}})


def test_default_inputs_leave_targets_texts_times_and_the_split_aside():
    columns = [column for column in COLUMNS if not column.missing_count]
    spec = {"target": ["price"], "network": LINEAR, "split": {"column": {"column": "part", "heldOut": ["val"]}}}
    assert list(specs.resolve(spec_of(spec), columns, 100).inputs) == ["area", "rooms", "garden", "sold"]
    spec["preprocess"] = {"groups": [{"columns": ["seen"], "dateParts": ["YEAR"]}]}
    assert list(specs.resolve(spec_of(spec), columns, 100).inputs) == ["area", "rooms", "garden", "sold", "seen"]


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"column": {"column": "parts", "heldOut": ["val"]}}, "column.column", 'did you mean "part"?'),
        ({"column": {"column": "part", "heldOut": ["vla"]}}, "column.held_out[0]", 'did you mean "val"?'),
        ({"column": {"column": "area", "heldOut": ["1"]}}, "column.column", "needs CATEGORY, BOOLEAN or INTEGER"),
        ({"column": {"column": "price", "heldOut": ["1"]}}, "column.column", "is the target"),
        ({"time": {"column": "city"}}, "time.column", "needs TIMESTAMP, INTEGER or NUMBER"),
        ({"time": {"column": "age"}}, "time.column", "4 missing values"),
    ],
)
def test_splits_refused(spec, field, words):
    assert words in refusals({"split": spec})[f"split.{field}"]


def test_defaults_of_losses():
    assert resolve({"loss": {"huber": {}}}).loss.huber.delta == 1
    assert resolve({"target": ["sold"]}).loss.bce.positive_weight == 1
    assert resolve({"target": ["price", "area"], "inputs": ["rooms"]}).loss.WhichOneof("kind") == "mse"


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        (
            {"target": ["sold"], "loss": {"crossEntropy": {"classWeights": {"weights": {"yse": 2}}}}},
            'loss.cross_entropy.class_weights.weights["yse"]',
            'did you mean "yes"?',
        ),
        (
            {"target": ["sold"], "loss": {"crossEntropy": {"classWeights": {"balanced": True, "weights": {"no": 2}}}}},
            "loss.cross_entropy.class_weights.weights",
            "must be empty",
        ),
        ({"target": ["price", "sold"]}, "target[1]", "only numbers are predicted together"),
        ({"target": ["price", "rooms"], "loss": {"crossEntropy": {}}}, "loss", "needs one column of classes"),
        ({"target": ["sold"], "loss": {"huber": {}}}, "loss", "huber needs numbers"),
        ({"target": ["sold"], "preprocess": {"target": {"scale": "STANDARD"}}}, "preprocess.target.scale", "classes"),
        ({"target": ["sold"], "everyEpoch": ["R2"]}, "every_epoch[0]", "there are ACCURACY, BALANCED_ACCURACY"),
        ({"everyEpoch": ["F1"]}, "every_epoch[0]", "there are MAE, MSE, RMSE, R2"),
        ({"everyEpoch": ["MAE"], "learn": {"exact": {}}}, "every_epoch", "is told by the gradient loop"),
        ({"network": {"mlp": {"hidden": [8, 4], "residual": True}}}, "network.mlp.residual", "[8, 4]"),
        ({"network": {"mlp": {"dropout": 0.5}}}, "network.mlp.dropout", "there are none"),
    ],
)
def test_what_does_not_go_together(spec, field, words):
    assert words in refusals(spec)[field]


@pytest.mark.parametrize(
    ("gradient", "network", "field", "words"),
    [
        ({"optimizer": {"lbfgs": {}}, "batchSize": 5}, MLP, "learn.gradient.batch_size", "lbfgs takes all rows"),
        ({"optimizer": {"lbfgs": {}}, "clip": {"norm": 1}}, MLP, "learn.gradient.clip", "does not go with lbfgs"),
        (
            {"optimizer": {"lbfgs": {}}},
            {"mlp": {"hidden": [4], "dropout": 0.1}},
            "network.mlp.dropout",
            "does not go with lbfgs",
        ),
        (
            {"schedule": {"oneCycle": {}, "warmUpSteps": 5}},
            MLP,
            "learn.gradient.schedule.warm_up_steps",
            "one_cycle warms up by itself",
        ),
        (
            {"batchSize": 1},
            {"mlp": {"hidden": [4], "normalisation": "BATCH"}},
            "learn.gradient.batch_size",
            "at least 2 rows",
        ),
        (
            {"path": "WRITTEN_OUT"},
            {"mlp": {"hidden": [4], "normalisation": "LAYER"}},
            "learn.gradient.path",
            "normalisation LAYER is not written out",
        ),
    ],
)
def test_steps_that_do_not_go_together(gradient, network, field, words):
    assert words in refusals({"learn": {"gradient": gradient}, "network": network})[field]


def test_early_stopping_needs_held_out_rows():
    spec = {"learn": {"gradient": {"earlyStopping": {}}}}
    assert resolve(spec).learn.gradient.early_stopping.patience == 10
    assert "no row is held out" in refusals(spec | {"split": {"none": {}}})["learn.gradient.early_stopping"]
    assert "no row is held out" in refusals(spec, rows=10)["learn.gradient.early_stopping"]


def test_embeddings_are_learned_by_the_loop():
    group = {"columns": ["part"], "encode": {"embedding": {}}}
    assert "is embedded" in refusals(grouped(group, learn={"exact": {}}))["learn"]
    spec = grouped(group, network={"perceptron": {}}, target=["sold"])
    assert "is embedded" in refusals(spec)["learn"]


def test_the_path_is_chosen():
    def path(**spec):
        return resolve(spec).learn.gradient.path

    general, written_out = learning_pb2.Gradient.GENERAL, learning_pb2.Gradient.WRITTEN_OUT
    assert path() == path(network=MLP) == written_out
    assert path(network={"mlp": {"hidden": [8, 8], "residual": True}}) == general
    assert path(network={"mlp": {"hidden": [8], "normalisation": "BATCH"}}) == general
    assert path(learn={"gradient": {"optimizer": {"lbfgs": {}}}}) == general
    assert path(learn={"gradient": {"path": "GENERAL"}}) == general
    assert specs.resolve(spec_of(AREA), COLUMNS, 100, "cuda").learn.gradient.path == general
    embedded = grouped({"columns": ["part"], "encode": {"embedding": {}}}, network=MLP)
    assert resolve(embedded).learn.gradient.path == general
