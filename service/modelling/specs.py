"""What a training spec means: `resolve` fills in every default and refuses what cannot be learned."""

from collections.abc import Sequence
from typing import assert_never

from google.protobuf.message import Message

from service.errors import InvalidField, Violation, shown
from service.modelling import findings
from service.modelling.columns import all_told, class_count, column_problem
from service.modelling.given import given_misfits
from service.modelling.inputs import InputLayout
from service.modelling.networks import Task, input_width, output_width, weight_shapes
from traind.v1 import learning_pb2, losses_pb2, networks_pb2, optimizers_pb2, preprocess_pb2, specs_pb2, tables_pb2

Column = tables_pb2.Column
# Below so many rows nothing is held out unless it is asked for.
FEWEST_ROWS_TO_SPLIT = 20
MOST_LAYERS = 512
MOST_VIOLATIONS = 20

_CLASS_LOSSES = ("bce", "cross_entropy")


def resolve(spec: specs_pb2.TrainSpec, columns: Sequence[Column], row_count: int) -> specs_pb2.TrainSpec:
    """The spec as it runs, every default filled in.

    Raises InvalidField with all violations that were found, at most 20, by their paths below `job.train`.
    """
    return _Resolver(spec, columns, row_count).resolve()


def task_of(resolved: specs_pb2.TrainSpec) -> Task:
    """What the outputs of a resolved spec stand for."""
    if resolved.network.WhichOneof("kind") == "perceptron":
        return "binary"
    loss = resolved.loss.WhichOneof("kind")
    if loss == "cross_entropy":
        return "multiclass"
    return "binary" if loss == "bce" else "regression"


def widths(resolved: specs_pb2.TrainSpec, columns: Sequence[Column]) -> tuple[InputLayout, int]:
    """Inputs and outputs of the network.

    How many classes an INTEGER target has is known only when the rows are read; it counts as two until then, and
    categories count as far as they are told. The trainer counts again.
    """
    target = next(column for column in columns if column.name == resolved.target[0])
    classes = class_count(target) or 2
    return InputLayout(input_width(columns, resolved.inputs)), output_width(resolved, classes)


def epochs_of(resolved: specs_pb2.TrainSpec) -> int:
    """Epochs that a resolved spec asks for; 0 where nothing is iterated."""
    way = resolved.learn.WhichOneof("way")
    match way:
        case "gradient":
            return resolved.learn.gradient.epochs
        case "perceptron_rule":
            return resolved.learn.perceptron_rule.epochs
        case "exact" | "given" | None:
            return 0
        case _:
            assert_never(way)


def auto_findings(spec: specs_pb2.TrainSpec, resolved: specs_pb2.TrainSpec, row_count: int) -> list[tables_pb2.Finding]:
    """What a person should know about the choices that `resolve` made."""
    chosen = not spec.split.WhichOneof("kind") and resolved.split.WhichOneof("kind") == "none"
    return [findings.no_hold_out(row_count, FEWEST_ROWS_TO_SPLIT)] if chosen else []


def loss_misfit(loss: losses_pb2.Loss, trained: losses_pb2.Loss) -> str:
    """Why a model that was trained with `trained` cannot be measured by `loss`; empty if it can.

    Whether a model of `cross_entropy` has the two classes that `bce` needs is seen when it is measured.
    """
    kind, known = loss.WhichOneof("kind"), trained.WhichOneof("kind")
    if known is None:
        return "does not fit a perceptron, which answers classes and no probabilities; leave it out"
    if (kind in _CLASS_LOSSES) == (known in _CLASS_LOSSES):
        return ""
    if known in _CLASS_LOSSES:
        return f"{kind} needs a model of numbers and this one answers classes; use bce or cross_entropy"
    return f"{kind} needs a model of classes and this one answers numbers; use mse or mae"


class _Resolver:
    """One spec on its way; every step fills defaults in and collects what is wrong."""

    def __init__(self, spec: specs_pb2.TrainSpec, columns: Sequence[Column], row_count: int) -> None:
        self.spec = specs_pb2.TrainSpec()
        self.spec.CopyFrom(spec)
        self.columns = columns
        self.by_name = {column.name: column for column in columns}
        self.rows = row_count
        self.violations: list[Violation] = []

    def resolve(self) -> specs_pb2.TrainSpec:
        target = self.find("target[0]", self.spec.target[0])
        self.inputs()
        self.network()
        if target is not None and self.target(target):
            self.loss(target)
        self.learn()
        self.split()
        if not self.spec.preprocess.scale:
            self.spec.preprocess.scale = preprocess_pb2.Preprocess.STANDARD
        if not self.spec.dtype:
            exact = self.spec.learn.WhichOneof("way") == "exact"
            self.spec.dtype = specs_pb2.TrainSpec.FLOAT64 if exact else specs_pb2.TrainSpec.FLOAT32
        if not self.violations and self.spec.learn.WhichOneof("way") == "given" and self.widths_known():
            expected = weight_shapes(self.spec.network, *widths(self.spec, self.columns))
            self.violations += given_misfits(self.spec.learn.given, expected)
        if self.violations:
            raise _refusal(self.violations)
        return self.spec

    def refuse(self, path: str, description: str) -> None:
        self.violations.append(Violation(f"job.train.{path}", description))

    def find(self, path: str, name: str) -> Column | None:
        """The column of a name, if it can be used at all."""
        problem = column_problem(name, self.by_name)
        if problem:
            self.refuse(path, problem)
            return None
        return self.by_name[name]

    def inputs(self) -> None:
        target, named = self.spec.target[0], bool(self.spec.inputs)
        if not named:
            unusable = {Column.TEXT, Column.TIMESTAMP}
            self.spec.inputs.extend(c.name for c in self.columns if c.name != target and c.type not in unusable)
            if not self.spec.inputs:
                self.refuse("inputs", f"there is no column to learn from beside the target {shown(target)}")
        for index, name in enumerate(self.spec.inputs):
            path = f"inputs[{index}]" if named else "inputs"
            if name == target:
                self.refuse(path, f"{shown(name)} is the target; a model must not see what it predicts")
            else:
                self.find(path, name)

    def widths_known(self) -> bool:
        """Whether `widths` is sure before the rows are read."""
        used = [self.by_name[name] for name in (*self.spec.inputs, *self.spec.target)]
        classes = task_of(self.spec) == "multiclass" and class_count(used[-1]) is None
        return not classes and all(map(all_told, used))

    def network(self) -> None:
        kind = self.spec.network.WhichOneof("kind")
        match kind:
            case "linear":
                _default(self.spec.network.linear, "bias", value=True)
            case "perceptron":
                _default(self.spec.network.perceptron, "bias", value=True)
            case "mlp":
                mlp = self.spec.network.mlp
                _default(mlp, "bias", value=True)
                mlp.activation = mlp.activation or networks_pb2.Network.RELU
                if len(mlp.hidden) > MOST_LAYERS:
                    self.refuse("network.mlp.hidden", f"has {len(mlp.hidden)} layers, allowed are {MOST_LAYERS}")
            case None:
                self.refuse("network", "name one of linear, perceptron, mlp")
            case _:
                assert_never(kind)

    def target(self, target: Column) -> bool:
        """Whether the target can be predicted by the network."""
        classes, name = class_count(target), shown(target.name)
        if classes is not None and classes < 2:
            self.refuse("target[0]", f"column {name} has one class only; there is nothing to tell apart")
        elif self.spec.network.WhichOneof("kind") != "perceptron":
            return True
        elif target.type == Column.NUMBER:
            self.refuse(
                "target[0]", f"a perceptron tells two classes apart and {name} holds numbers; use linear or mlp"
            )
        elif classes is not None and classes != 2:
            self.refuse("target[0]", f"a perceptron tells 2 classes apart and {name} has {classes}; use linear or mlp")
        else:
            return True
        return False

    def loss(self, target: Column) -> None:
        kind = self.spec.loss.WhichOneof("kind")
        if self.spec.network.WhichOneof("kind") == "perceptron":
            if kind is not None:
                self.refuse("loss", "a perceptron is measured by its share of errors; leave the loss out")
                self.spec.ClearField("loss")
            return
        if kind is not None:
            self.check_loss(kind, target)
        chosen = getattr(self.spec.loss, kind or _default_loss(target))
        chosen.reduction = chosen.reduction or losses_pb2.Loss.MEAN

    def check_loss(self, kind: str, target: Column) -> None:
        classes, name = class_count(target), shown(target.name)
        if kind not in _CLASS_LOSSES:
            if classes is not None:
                cure = "bce or cross_entropy" if classes == 2 else "cross_entropy"
                self.refuse("loss", f"{kind} needs numbers and column {name} holds {classes} classes; use {cure}")
        elif target.type == Column.NUMBER:
            self.refuse("loss", f"{kind} needs classes and column {name} holds numbers; use mse or mae")
        elif kind == "bce" and classes is not None and classes != 2:
            self.refuse("loss", f"bce tells 2 classes apart and column {name} has {classes}; use cross_entropy")

    def learn(self) -> None:
        network = self.spec.network.WhichOneof("kind")
        way = self.spec.learn.WhichOneof("way")
        if way is None:
            way = "perceptron_rule" if network == "perceptron" else "gradient"
            getattr(self.spec.learn, way).SetInParent()
        match way:
            case "gradient":
                self.gradient(network)
            case "exact":
                self.exact(network)
            case "perceptron_rule":
                _default(self.spec.learn.perceptron_rule, "epochs", value=100)
                if network not in {None, "perceptron"}:
                    self.refuse(
                        "learn.perceptron_rule", f"needs a perceptron and the network is {network}; use gradient"
                    )
            case "given":
                pass
            case _:
                assert_never(way)

    def gradient(self, network: str | None) -> None:
        gradient = self.spec.learn.gradient
        if network == "perceptron":
            self.refuse("learn.gradient", "the step of a perceptron has no gradient; use perceptron_rule")
        mlp = self.spec.network.mlp
        if network == "mlp" and mlp.hidden and mlp.activation == networks_pb2.Network.STEP:
            self.refuse(
                "network.mlp.activation",
                "STEP has no gradient to descend; use SIGMOID, TANH or RELU, or give the weights with learn.given",
            )
        _default(gradient, "epochs", value=10)
        gradient.keep = gradient.keep or learning_pb2.Gradient.BEST
        self.optimizer(gradient.optimizer)
        if gradient.optimizer.WhichOneof("kind") == "gradient_descent":
            if gradient.HasField("batch_size"):
                path = "learn.gradient.batch_size"
                self.refuse(path, "gradient_descent takes all rows in every step; leave batch_size out, or use sgd")
        elif gradient.HasField("batch_size") and gradient.batch_size > self.rows:
            path = "learn.gradient.batch_size"
            self.refuse(path, f"is {gradient.batch_size} and the data set has {self.rows} rows; at most so many")
        else:
            _default(gradient, "batch_size", value=max(1, min(32, self.rows)))

    def optimizer(self, optimizer: optimizers_pb2.Optimizer) -> None:
        kind = optimizer.WhichOneof("kind") or "adam"
        match kind:
            case "gradient_descent":
                _default(optimizer.gradient_descent, "lr", value=0.01)
            case "sgd":
                _default(optimizer.sgd, "lr", value=0.01)
                if optimizer.sgd.nesterov and not optimizer.sgd.momentum:
                    path = "learn.gradient.optimizer.sgd.nesterov"
                    self.refuse(path, "needs a momentum above 0; set momentum, for instance 0.9")
            case "adam":
                for name, value in (("lr", 0.001), ("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8)):
                    _default(optimizer.adam, name, value=value)
            case _:
                assert_never(kind)

    def exact(self, network: str | None) -> None:
        if network not in {None, "linear"}:
            self.refuse("learn.exact", f"only a linear network has an exact solution and this is {network}; use linear")
        if self.spec.loss.WhichOneof("kind") not in {None, "mse"}:
            loss = self.spec.loss.WhichOneof("kind")
            self.refuse("learn.exact", f"solves for mse with numbers as target and the loss is {loss}; use gradient")

    def split(self) -> None:
        kind = self.spec.split.WhichOneof("kind")
        if kind is None:
            kind = "hold_out" if self.rows >= FEWEST_ROWS_TO_SPLIT else "none"
        if kind == "none":
            self.spec.split.none.SetInParent()
            return
        hold_out, classes = self.spec.split.hold_out, task_of(self.spec) != "regression"
        if self.rows < 2:
            self.refuse("split.hold_out", f"needs 2 rows and the data set has {self.rows}; use none")
        if hold_out.stratify and not classes:
            self.refuse(
                "split.hold_out.stratify", "keeps the shares of classes and the target is a number; leave it out"
            )
        _default(hold_out, "fraction", value=0.2)
        _default(hold_out, "stratify", value=classes)


def _default_loss(target: Column) -> str:
    classes = class_count(target)
    if classes is None:
        return "mse"
    return "bce" if classes == 2 else "cross_entropy"


def _refusal(violations: Sequence[Violation]) -> InvalidField:
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    text = f"{first.field}: {first.description}{more}"
    return InvalidField(text, violations[:MOST_VIOLATIONS], {"field": first.field})


def _default(message: Message, field: str, *, value: object) -> None:
    """Set an optional field that is absent."""
    if not message.HasField(field):
        setattr(message, field, value)
