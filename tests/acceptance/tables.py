"""The real tables of tests/data, and scikit-learn's, as the tests of quality send them."""

import csv
import gzip
import io
import pathlib

from sklearn import datasets

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"


def read(name):
    """Header and rows of texts; missing values are empty."""
    with gzip.open(DATA / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def encode(header, rows):
    """A CSV file's bytes."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()


def classic(name):
    """iris, wine, breast_cancer, digits: a CSV file's bytes whose last column is `kind`, a text."""
    found = getattr(datasets, f"load_{name}")()
    names = [str(one) for one in found.target_names]
    header = [f"x{i}" for i in range(found.data.shape[1])] + ["kind"]
    rows = [[*map(repr, map(float, x)), f"k {names[y]}"] for x, y in zip(found.data, found.target, strict=True)]
    return encode(header, rows)
