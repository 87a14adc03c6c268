"""A training job from its table to its model: the ways to learn, each epoch published, the model saved at the end."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, assert_never

from google.protobuf import json_format

from service import ledger
from service.data.preprocessing import Fitted
from service.errors import TooManyParameters, invalid
from service.modelling import findings, given, golden, losses, measuring, networks, rates, specs, tensors
from service.modelling.networks import TraindNetwork
from service.modelling.predictor import Predictor, encode_preprocessing
from service.settings import Settings
from service.store.database import Database
from service.store.records import DatasetRow, encode_messages
from traind.v1 import learning_pb2, specs_pb2, tables_pb2
from traind.version import __version__
from worker import checkpoints, descent, exact, golden_rows, loop, perceptron, resuming, training_data
from worker.checkpoints import LearnState, Origin, Weights
from worker.limits import processor_bound
from worker.loop import EpochRecord, Rows
from worker.publishing import Publisher
from worker.training_data import Sample, TrainingData, open_table

logger = logging.getLogger("traind.worker")


class Stopped(Exception):
    """The job was asked to stop, and its finished epochs are published."""


class Diverged(Exception):
    """The loss became Inf or NaN in `epoch`; or that was the last one, and `loss` is too large to be anything else."""

    def __init__(self, epoch: int, loss: float | None = None) -> None:
        super().__init__(epoch, loss)
        self.epoch, self.loss = epoch, loss


class OutOfTime(Exception):
    """`max_seconds` are over within the epoch after `epoch`, and there are weights of no epoch's end."""

    def __init__(self, epoch: int) -> None:
        super().__init__(epoch)
        self.epoch = epoch


class Training:
    """A training job on its way."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        claim: ledger.Claim,
        publisher: Publisher,
        stop: Callable[[], bool],
    ) -> None:
        self.settings, self.database, self.claim = settings, database, claim
        self.publisher, self.stop = publisher, stop
        self.asked = json_format.Parse(claim.job.task_json, specs_pb2.TrainSpec())
        self.spec = json_format.Parse(claim.job.resolved_json, specs_pb2.TrainSpec())
        self.task = specs.task_of(self.spec)
        self.dtype = networks.torch_dtype(self.spec)
        written_out = self.spec.learn.gradient.path == learning_pb2.Gradient.WRITTEN_OUT
        self.device = "cpu" if written_out else networks.choose_device(settings.devices)

    def run(self) -> None:
        """Load, learn, save, finish."""
        names = training_data.columns_needed(self.spec)
        dataset, table = open_table(self.settings, self.database, self.claim, names)
        captured, damaged = resuming.load_checkpoint(self.database, self.claim.job, dataset)
        kept = None
        if captured is not None:
            kept = Fitted.from_json(captured["preprocessing"]), checkpoints.held_out_rows(captured)
        data = training_data.prepare(table, self.spec, kept, self.settings.tmp_dir)
        if self.spec.loss.cross_entropy.class_weights.balanced:
            self.spec.loss.CopyFrom(losses.balanced(self.spec.loss, data.train.t, data.target.classes))
        origin = self.origin(data, dataset)
        self.tell(data, origin)
        try:
            weights, best_epoch = self.learn(data, origin, captured, damaged)
            self.save(data, weights, best_epoch, golden_rows.draw(table, data, self.spec.seed))
        except Diverged as error:
            finding = rates.diverged_finding(self.spec, data.train.x, error.epoch, error.loss)
            self.publisher.fail("DIVERGED", finding.message, [finding])
        except OutOfTime as error:
            finding = findings.out_of_time(error.epoch, self.spec.learn.gradient.max_seconds)
            self.publisher.fail("TIME_LIMIT", finding.message, [finding])

    def tell(self, data: TrainingData, origin: Origin) -> None:
        """What is known before the first step."""
        self.publisher.log(
            f"{len(data.train.t)} rows to learn from, {len(origin.held_out)} held out; {data.fitted.width} features; "
            f"device {origin.device}, threads {origin.threads}"
        )
        for finding in specs.auto_findings(self.asked, self.spec, origin.row_count):
            self.publisher.tell(finding)
        for finding in data.findings:
            self.publisher.tell(finding)
        if data.constant:
            self.publisher.tell(findings.constant_columns(data.constant))
        if crawl := rates.crawl_finding(self.spec, data.train.x):
            self.publisher.tell(crawl)

    def learn(
        self, data: TrainingData, origin: Origin, captured: dict[str, Any] | None, damaged: str
    ) -> tuple[Weights, int]:
        """The weights by the way that the spec names, and the epoch they are of: 0 where nothing is iterated.

        `captured` is the checkpoint from which to go on, `damaged` why it is not the newest one.
        """
        network = self.build(data)
        way = self.spec.learn.WhichOneof("way")
        match way:
            case "gradient":
                return self.descend(network, data, origin, captured, damaged)
            case "perceptron_rule":
                return self.correct(network, data, origin, captured, damaged)
            case "exact":
                return self.solve(data), 0
            case "given":
                return self.take(network), 0
            case None:
                raise AssertionError("a resolved spec has a way to learn")
            case _:
                assert_never(way)

    def build(self, data: TrainingData) -> TraindNetwork:
        """The network, all weights 0. Raises TooManyParameters: how many classes there are is sure only now."""
        outputs, layout = networks.output_width(self.spec, len(data.target.classes)), data.fitted.layout
        count = networks.count_parameters(self.spec.network, layout, outputs)
        if count > self.settings.max_parameters:
            limit = f"{self.settings.max_parameters:,}"
            raise TooManyParameters(
                f"the network has {count:,} parameters and this server allows {limit}; make the layers narrower"
            )
        return networks.build_network(self.spec.network, layout, outputs, self.dtype)

    def solve(self, data: TrainingData) -> Weights:
        """The exact solution. Raises InvalidField where the spec's dtype cannot hold it."""
        bias = self.spec.network.linear.bias
        weights, rank = exact.solve(data.train.x, data.train.t, bias=bias)
        if rank < data.fitted.width + bias:
            self.publisher.findings.append(findings.rank_deficient(rank, data.fitted.width + bias))
        solution = tensors.from_arrays(weights, self.dtype)
        if not tensors.all_finite(solution):
            raise invalid(
                "job.train.dtype",
                f"{specs_pb2.TrainSpec.Dtype.Name(self.spec.dtype)} cannot hold the exact solution, whose numbers are "
                "larger; set it to FLOAT64, or scale inputs and target",
            )
        return solution

    def take(self, network: TraindNetwork) -> Weights:
        """The given weights. Raises InvalidField where they are not the network's: its sizes are sure only now."""
        shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
        if wrong := list(given.given_misfits(self.spec.learn.given, shapes, self.dtype)):
            raise invalid(wrong[0].field, wrong[0].description)
        return given.given_tensors(self.spec.learn.given, self.dtype)

    def origin(self, data: TrainingData, dataset: DatasetRow) -> Origin:
        """What a checkpoint of this job rests on."""
        return Origin(
            dataset_sha256=dataset.table_sha256,
            spec=self.claim.job.resolved_json,
            preprocessing=data.fitted.to_json(),
            row_count=dataset.row_count,
            held_out=data.held_out_rows,
            device=self.device,
            dtype=str(self.dtype).removeprefix("torch."),
            job=self.claim.job.id,
        )

    def descend(
        self, network: TraindNetwork, data: TrainingData, origin: Origin, captured: dict[str, Any] | None, damaged: str
    ) -> tuple[Weights, int]:
        """By the gradient loop. Raises as `iterate` does."""
        gradient = self.spec.learn.gradient
        state, step = descent.begin(network, self.spec, data.target.classes, self.device)
        resuming.restore(state, origin, captured, damaged, self.publisher, self.database, self.claim.job)
        self.publisher.follow(gradient.checkpoints, state.epoch)
        own = {"train": data.train.y} | ({} if data.held_out is None else {"val": data.held_out.y})
        every_epoch = measuring.epoch_measures(self.spec, data.target, own)
        plan = descent.plan_of(self.spec, data.target.classes, every_epoch)

        def checkpoint() -> bytes:
            return checkpoints.encode(checkpoints.capture(state, origin))

        def stop() -> bool:
            if not state.first_bad_epoch:
                self.publisher.within(checkpoint, state.best_epoch, state.epoch, state.batch)
            return self.stop() or loop.out_of_time(state, gradient)

        held_out = None if data.held_out is None else self.rows(data.held_out)
        walk = loop.descend(state, plan, step, self.rows(data.train), held_out, stop)
        with processor_bound(gradient.max_seconds - state.seconds() if gradient.HasField("max_seconds") else None):
            learned = self.iterate(state, walk, lambda: loop.over(state, plan), checkpoint)
        if state.last_loss > rates.largest_loss(self.spec, data.train.t):
            raise Diverged(state.epoch, state.last_loss)
        if state.epoch < gradient.epochs and loop.stopped_early(state, gradient):
            finding = findings.stopped_early(state.epoch, state.best_epoch, gradient.early_stopping.patience)
            self.publisher.findings.append(finding)
        elif state.epoch < gradient.epochs:
            self.publisher.findings.append(findings.time_limit(state.epoch, gradient.max_seconds))
        return learned

    def correct(
        self, network: TraindNetwork, data: TrainingData, origin: Origin, captured: dict[str, Any] | None, damaged: str
    ) -> tuple[Weights, int]:
        """By the perceptron rule."""
        state, epochs = LearnState.begin(network, self.spec.seed), self.spec.learn.perceptron_rule.epochs
        resuming.restore(state, origin, captured, damaged, self.publisher, self.database, self.claim.job)

        def checkpoint() -> bytes:
            return checkpoints.encode(checkpoints.capture(state, origin))

        def stop() -> bool:
            # An epoch under way is lost; those that are done must not be, so they are published before.
            return not self.publisher.pending and self.stop()

        walk = perceptron.learn(state, data.train, data.held_out, epochs=epochs, seed=self.spec.seed, stop=stop)
        return self.iterate(state, walk, lambda: perceptron.at_rest(state) or state.epoch >= epochs, checkpoint)

    def iterate(
        self,
        state: LearnState,
        walk: Iterator[EpochRecord],
        is_over: Callable[[], bool],
        checkpoint: Callable[[], bytes],
    ) -> tuple[Weights, int]:
        """Learn epoch by epoch and publish each, until the last; raises Stopped, Diverged or OutOfTime."""
        for record in walk:
            over = is_over()
            # From figures that are Inf or NaN on nothing is kept: a job that goes on does so from before them.
            kept = None if state.first_bad_epoch else checkpoint
            self.publisher.epoch(record, kept, state.best_epoch, last=over and kept is not None)
            if not over and self.stop():
                self.publisher.leave(kept, state.best_epoch, state.epoch)
                raise Stopped
        if not is_over():
            if state.order_before is not None:  # the perceptron rule cannot go on within an epoch
                kept = None if state.first_bad_epoch else checkpoint
                self.publisher.leave(kept, state.best_epoch, state.epoch, state.batch)
            raise Stopped
        self.publisher.end_at(state.epoch, state.best_epoch)
        if state.first_bad_epoch:
            raise Diverged(state.first_bad_epoch)
        # Time may have ended within an epoch, or just after one that was not the last yet when it was told.
        self.publisher.leave(checkpoint, state.best_epoch, state.epoch, state.batch)
        if not state.best_epoch:
            raise OutOfTime(state.epoch)
        if not tensors.all_finite(state.weights):
            raise Diverged(state.epoch)
        return state.weights, state.best_epoch

    def rows(self, sample: Sample) -> Rows:
        """A sample as the network takes it."""
        return Rows.make(sample.x, sample.t, self.task, self.dtype, self.device)

    def save(
        self, data: TrainingData, weights: Weights, best_epoch: int, offered: Sequence[tables_pb2.ColumnValues]
    ) -> None:
        """The model, with its figures, in the transaction in which the job succeeds; `offered` are rows of which it
        keeps some with its answers.
        """
        weights = {name: weight.cpu() for name, weight in weights.items()}
        predictor = Predictor.build(self.spec, data.fitted, data.target, weights)
        metrics, confusion = self.measure(predictor, data)
        iterated = self.spec.learn.WhichOneof("way") == "gradient"
        if iterated and not math.isfinite(metrics["train_loss"]):
            raise Diverged(best_epoch)
        if self.spec.learn.WhichOneof("way") == "perceptron_rule" and metrics["train_accuracy"] < 1:
            epochs = specs.epochs_of(self.spec)
            self.publisher.findings.append(findings.not_separable(epochs, metrics["train_accuracy"]))
        kept = golden.make(predictor, offered)
        spec = specs_pb2.TrainSpec()
        spec.CopyFrom(self.spec)
        if spec.learn.HasField("given"):
            spec.learn.given.ClearField("weights")
        model = ledger.NewModel(
            slug=self.claim.job.model_slug,
            display_name=self.claim.job.display_name or self.claim.job.model_slug,
            weights=tensors.encode_tensors(weights),
            weights_sha256=tensors.weights_sha256(weights),
            spec_json=json_format.MessageToJson(spec, indent=None),
            inputs_json=encode_messages(predictor.inputs),
            outputs_json=encode_messages(predictor.predictions),
            preprocessing_json=encode_preprocessing(data.fitted, data.target),
            metrics=metrics,
            findings_json=encode_messages(self.publisher.findings),
            parameter_count=predictor.parameter_count,
            best_epoch=best_epoch,
            engine=__version__,
            confusion_json=encode_messages(confusion),
            rows=training_data.rows_of(data),
            golden=None if kept is None else kept.SerializeToString(deterministic=True),
        )
        self.publisher.succeed(model, metrics, best_epoch)

    def measure(
        self, predictor: Predictor, data: TrainingData
    ) -> tuple[dict[str, float], list[tables_pb2.ConfusionMatrix]]:
        """Figures of the model, in sample as `train_…`, of held-out rows as `val_…`, and its confusion matrices."""
        metrics: dict[str, float] = {}
        confusion = []
        for split, sample in (("train", data.train), ("val", data.held_out)):
            if sample is None:
                continue
            outputs = predictor.forward(sample.x)
            measured = measuring.measure(predictor, outputs, sample.y, sample.t, predictor.spec.loss)
            figures = measured.figures
            # Rows less parameters are degrees of freedom only of a linear network, and only where it was fitted.
            if split == "train" and self.spec.network.WhichOneof("kind") == "linear":
                self.publisher.findings += measured.findings
            else:
                figures.pop("residual_mse", None)
            metrics |= {f"{split}_{name}": value for name, value in figures.items()}
            if measured.confusion is not None:
                measured.confusion.split = split
                confusion.append(measured.confusion)
        return metrics, confusion
