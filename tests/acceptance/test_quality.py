"""What is learned of real tables, through real processes: small networks on the classic tables, and the proposed spec
as it comes on tables with gaps, categories and skew, beside what a linear model reaches.

The bounds are means of five runs of linear models of scikit-learn (logistic regression, ridge) less two standard
deviations. Where early stopping looks at held-out rows, other rows are measured, which no job ever saw.
"""

import statistics

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold

import traind
from tests.acceptance import tables

pytestmark = pytest.mark.timeout(600)
JOB_S = 120


@pytest.fixture(scope="module")
def client(sqlite_stack):
    with traind.Client(sqlite_stack.address["grpc"], token=sqlite_stack.token) as client:
        yield client


CLASSICS = [
    ("iris", 0.934, {"hidden": [16]}, 0.01, 60, 16),
    ("wine", 0.955, {"hidden": [16]}, 0.01, 40, 16),
    ("breast_cancer", 0.951, {"hidden": [16]}, 0.005, 20, 32),
    ("digits", 0.965, {"hidden": [64]}, 0.003, 40, 32),
]


@pytest.mark.parametrize(("name", "bound", "mlp", "lr", "epochs", "batch"), CLASSICS, ids=[c[0] for c in CLASSICS])
def test_a_small_network_on_a_classic_table(client, name, bound, mlp, lr, epochs, batch):
    slug = name.replace("_", "-")
    dataset = client.datasets.create(tables.classic(name), name=slug)
    optimizer = {"adamw": {"lr": lr, "weight_decay": 0.01}}
    # The last epoch's weights, so that the held-out rows only measure.
    gradient = {"optimizer": optimizer, "epochs": epochs, "batch_size": batch, "keep": "LAST"}
    train = {
        "target": "kind",
        "network": {"mlp": mlp},
        "split": {"hold_out": {"fraction": 0.2, "stratify": True}},
        "learn": {"gradient": gradient},
    }
    jobs = [client.jobs.create(dataset=dataset, model=slug, train={**train, "seed": seed}) for seed in range(5)]
    accuracies = [job.wait(JOB_S).model.metrics["val_accuracy"] for job in jobs]
    assert statistics.fmean(accuracies) >= bound, accuracies


def auc(right, model, rows):
    """Of the second of two classes."""
    found = model.predict(rows, full=True)
    return roc_auc_score([str(value) == found.classes[1] for value in right], [row[1] for row in found.probabilities])


def accuracy(right, model, rows):
    return accuracy_score(right, [str(value) for value in model.predict(rows)])


def log_r2(right, model, rows):
    return r2_score(np.log([float(value) for value in right]), np.log(model.predict(rows)))


# Target, figure, a linear model's mean and standard deviation over five folds.
REAL = [
    ("titanic", "survived", auc, 0.832, 0.015),
    ("penguins", "species", accuracy, 0.991, 0.007),
    ("credit_data", "Status", auc, 0.830, 0.015),
    ("attrition", "Attrition", auc, 0.837, 0.017),
    ("ames", "Sale_Price", log_r2, 0.878, 0.03),
]


@pytest.mark.parametrize(("name", "target", "measure", "mean", "deviation"), REAL, ids=[real[0] for real in REAL])
def test_the_proposed_spec_as_it_comes(client, name, target, measure, mean, deviation):
    header, rows = tables.read(name)
    place = header.index(target)
    right = [row[place] for row in rows]
    folds = (KFold if measure is log_r2 else StratifiedKFold)(5, shuffle=True, random_state=0)
    slug = name.replace("_", "-")
    figures = []
    for seen, unseen in folds.split(rows, None if measure is log_r2 else right):
        dataset = client.datasets.create(tables.encode(header, [rows[i] for i in seen]), name=slug)
        proposal = dataset.propose(target)
        assert proposal.dataset == dataset.name
        model = client.jobs.create(dataset=dataset, model=slug, train=proposal.train).wait(JOB_S).model
        asked = [dict(zip(header, (cell or None for cell in rows[i]), strict=True)) for i in unseen]
        figures.append(measure([right[i] for i in unseen], model, asked))
    assert statistics.fmean(figures) >= mean - 2 * deviation, figures


def test_the_rows_of_a_models_split_are_told(client):
    """Every row once, but those that were left out; and the held-out figure is of exactly these rows."""
    header, rows = tables.read("penguins")
    dataset = client.datasets.create(tables.encode(header, rows), name="penguins-whole")
    train = dataset.propose("species").train
    model = client.jobs.create(dataset=dataset, model="penguins-whole", train=train).wait(JOB_S).model
    split = model.split()
    assert sorted(split.train + split.val) == list(range(len(rows)))
    assert len(split.val) == pytest.approx(len(rows) / 5, abs=2)
    asked = [dict(zip(header, (cell or None for cell in rows[i]), strict=True)) for i in split.val]
    right = accuracy([rows[i][0] for i in split.val], model, asked)
    assert right == pytest.approx(model.metrics["val_accuracy"], abs=1e-9)
    confusion = model.confusion["val"]
    assert sum(map(sum, confusion.counts)) == len(split.val)
    assert sum(confusion.count(kind, kind) for kind in confusion.classes) == round(right * len(split.val))
