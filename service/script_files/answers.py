"""What the outputs of the network say, as functions: numbers in the targets' own units, or classes."""

from service.data.targets import Target
from service.modelling.predictor import LEAST_VARIANCE
from service.script_files.lines import Literal, call, function
from service.script_files.steps import undo_lines
from traind.v1 import tables_pb2

Column = tables_pb2.Column

_OUTPUTS = ["with torch.inference_mode():", "    return NETWORK(features(rows)).double().numpy()"]
_SHARES = [
    "y = y - y.max(axis=1, keepdims=True)",
    "shares = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)",
    "return [dict(zip(CLASSES, row)) for row in shares.tolist()]",
]


def target_lines(target: Target) -> list[str]:
    """What is predicted, as constants."""
    lines = call("TARGETS = [", target.names, "]")
    return lines + call("CLASSES = [", _classes(target), "]") if target.classes else lines


def _classes(target: Target) -> list[Literal]:
    """Classes by their names, and by their numbers where the target's column holds numbers."""
    if target.columns[0].type not in {Column.INTEGER, Column.NUMBER}:
        return list(target.classes)
    return [int(label) if float(label).is_integer() else float(label) for label in target.classes]


def answer_functions(target: Target, outputs: int, *, logits: bool, deviations: bool) -> list[str]:
    """`predict`, and `probabilities` of logits or `deviations` of a network that tells them."""
    lines = function("outputs(rows)", f"What the network says, in 64 bits: [rows, {outputs}].", _OUTPUTS)
    if target.classes:
        return lines + _class_functions(outputs, logits=logits)
    lines += _undo_function(target, deviations=deviations)
    many = len(target.columns) > 1
    answers = "undone(outputs(rows))[0]" if deviations else "undone(outputs(rows))"
    told = (
        "The answers of each row, by the names of the targets." if many else "The number that is predicted of each row."
    )
    lines += function("predict(rows)", told, [_listed(answers, many=many)])
    if deviations:
        count = len(target.columns)
        body = [
            "y = outputs(rows)",
            f"spread = np.sqrt(np.maximum(np.exp(y[:, {count}:]), {LEAST_VARIANCE}))",
            _listed("(spread * undone(y)[1])", many=many),
        ]
        lines += function("deviations(rows)", "The standard deviation that is expected of each answer.", body)
    return lines


def _listed(answers: str, *, many: bool) -> str:
    if many:
        return f"return [dict(zip(TARGETS, row)) for row in {answers}.tolist()]"
    return f"return {answers}[:, 0].tolist()"


def _undo_function(target: Target, *, deviations: bool) -> list[str]:
    body = ["columns, slopes = [], []"] if deviations else ["columns = []"]
    for index, column in enumerate(target.columns):
        body.append(f"x = y[:, {index}]")
        if deviations:
            body.append("slope = np.ones(len(x))")
        body += undo_lines(column.steps, column.reach, slope=deviations)
        body.append("columns.append(x)")
        if deviations:
            body.append("slopes.append(slope)")
    both = ", np.column_stack(slopes)" if deviations else ""
    told = "The targets in their own units, of the outputs for them"
    told += ", and the slope of what undoes their steps." if deviations else "."
    return function("undone(y)", told, [*body, f"return np.column_stack(columns){both}"])


def _class_functions(outputs: int, *, logits: bool) -> list[str]:
    one = outputs == 1
    places = "(outputs(rows)[:, 0] > 0).astype(int)" if one else "outputs(rows).argmax(axis=1)"
    body = [f"return [CLASSES[place] for place in {places}]"]
    lines = function("predict(rows)", "The class that is likeliest for each row.", body)
    if logits:
        # One output is the logit of the second class, that of the first being 0.
        y = ["y = outputs(rows)", "y = np.column_stack([np.zeros(len(y)), y])"] if one else ["y = outputs(rows)"]
        lines += function("probabilities(rows)", "How likely each class is, for each row.", [*y, *_SHARES])
    return lines
