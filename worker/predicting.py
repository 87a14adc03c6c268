"""A job that predicts, from its data set to those of its answers: slice by slice, each stored when it is done."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from google.protobuf import json_format

from service import ledger, model_cache, references
from service.data import answer_tables
from service.data.objects import disk_full_refused
from service.data.opening import open_objects
from service.errors import DataCorrupt, NotFound
from service.modelling import answers, findings
from service.modelling.answers import Answers
from service.modelling.predictor import Predictor
from service.settings import Settings
from service.store import artifacts, datasets, models
from service.store.database import Database
from service.store.records import DatasetRow, encode_messages
from traind.v1 import jobs_pb2, learning_pb2, tables_pb2
from worker import predicted_slices
from worker.limits import processor_bound
from worker.loop import EpochRecord
from worker.predicted_slices import Origin, PredictState
from worker.publishing import Publisher
from worker.resuming import EPOCHS_AT_ONCE
from worker.slices import Slicer
from worker.training import OutOfTime, Stopped
from worker.training_data import open_table

logger = logging.getLogger("traind.worker")


class Predicting:
    """A job that predicts on its way."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        claim: ledger.Claim,
        publisher: Publisher,
        stop: Callable[[], bool],
    ) -> None:
        self.database, self.claim, self.settings = database, claim, settings
        self.publisher, self.stop = publisher, stop
        self.task = json_format.Parse(claim.job.task_json, jobs_pb2.PredictSpec())
        self.objects = open_objects(settings)
        self.state, self.since = PredictState(), time.monotonic()

    def run(self) -> None:
        """Load, predict slice by slice, join, finish."""
        predictor = load_predictor(self.database, self.claim, self.task.model)
        kept, inputs = list(self.task.keep_columns), [column.name for column in predictor.fitted.columns]
        dataset, table = open_table(self.settings, self.database, self.claim, dict.fromkeys([*inputs, *kept]))
        wanted = self.task.probabilities or not self.task.HasField("probabilities")
        told = Answers.of(predictor.spec, predictor.target, probabilities=wanted)
        slicer = Slicer(predictor, table, told, kept, self.objects)
        origin = Origin(self.claim.job.task_json, dataset.table_sha256, self.claim.job.epochs)
        self.publisher.log(f"{dataset.row_count} rows to predict with {self.task.model}, in {origin.slices} slices")
        self.restore(origin)
        self.publisher.follow(learning_pb2.Checkpoints(), len(self.state.slices))
        limit = self.task.max_seconds if self.task.HasField("max_seconds") else None
        try:
            with processor_bound(None if limit is None else limit - self.state.seconds):
                self.predict(slicer, origin, dataset.row_count)
                self.finish(slicer, dataset)
        except OutOfTime:
            counts = self.state.count()
            self.publisher.fail(
                "TIME_LIMIT",
                f"{counts['rows_done'] + counts['rows_bad']:,} of {dataset.row_count:,} rows were done when the "
                f"{self.task.max_seconds:g} s of job.predict.max_seconds were over; RetryJob goes on from there, and a "
                "new job with a larger max_seconds begins anew",
            )

    def restore(self, origin: Origin) -> None:
        """Go on from the newest checkpoint that is whole, if there is one, and tell it."""
        damaged, job = "", self.claim.job
        for artifact_id in filter(None, (job.checkpoint_id, job.older_checkpoint_id)):
            try:
                found = predicted_slices.decode(artifacts.load(self.database, artifact_id), origin, job.id)
            except DataCorrupt as error:
                logger.warning("job %s: a checkpoint is passed over: %s", job.id, error)
                damaged = f"a newer checkpoint is damaged: {error}"
                continue
            if found is not None:
                self.state = found.state
                self._inherit()
                bits = f"bits may differ from those of an unbroken run: {found.other_bits}" if found.other_bits else ""
                whence = "" if found.own else f"goes on from jobs/{job.parent_id}"
                self._going_on("; ".join(filter(None, (damaged, whence, bits))), same_bits=not bits)
                return
        if damaged:
            self._going_on(damaged, same_bits=True)

    def _going_on(self, reason: str, *, same_bits: bool) -> None:
        self.publisher.going_on(len(self.state.slices), 0, bitwise_equal=same_bits, reason=reason)

    def predict(self, slicer: Slicer, origin: Origin, rows: int) -> None:
        """Every slice that is not done yet. Raises Stopped or OutOfTime."""
        for number in range(len(self.state.slices), origin.slices):
            try:
                done = slicer.predict(*answers.slice_bounds(rows, origin.slices, number), self._over)
            except Stopped:
                self.publisher.leave(lambda: self._checkpoint(origin), 0, number)
                if self.stop():
                    raise
                raise OutOfTime(number) from None
            self.state.slices.append(done)
            record = EpochRecord(number + 1, _figures(self.state))
            self.publisher.epoch(record, lambda: self._checkpoint(origin), 0, last=number + 1 == origin.slices)

    def finish(self, slicer: Slicer, dataset: DatasetRow) -> None:
        """Join the slices to tables, and make data sets of them in the transaction in which the job succeeds."""
        counts = self.state.count()
        paths = [self.objects.new_tmp(".arrow") for _ in range(2)]
        try:
            output = self._join(slicer, dataset, paths[0], rejected=False) if counts["rows_done"] else None
            rejected = self._join(slicer, dataset, paths[1], rejected=True) if counts["rows_bad"] else None
            self._tell_findings()
            self._publish(ledger.Predictions(output, rejected), paths)
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    def _publish(self, made: ledger.Predictions, paths: list[Path]) -> None:
        """Files before rows, under the lock that keeps others from removing files without a row."""
        tables = [one for one in (made.output, made.rejected) if one is not None]
        with self.objects.locked():
            try:
                for one, path in zip((made.output, made.rejected), paths, strict=True):
                    if one is not None:
                        self.objects.put(path, one.sha256)
                self.publisher.succeed(None, _counted(self.state), 0, made)
            except BaseException:
                self._remove_unused(one.sha256 for one in tables)
                raise
            # Whoever dies before leaves them to housekeeping.
            self._remove_unused(name for one in self.state.slices for name in (one.answers, one.rejected) if name)

    def _join(self, slicer: Slicer, dataset: DatasetRow, target: Path, *, rejected: bool) -> ledger.NewDataset:
        """One table of the slices. Raises Stopped, also where no time is left."""
        schema = slicer.rejected_schema if rejected else slicer.schema
        with disk_full_refused():
            joined = answer_tables.join(self._files(slicer, dataset.row_count, rejected=rejected), schema, target)
        columns = slicer.rejected_columns if rejected else self._columns(slicer, dataset)
        for column, missing in zip(columns, joined.missing, strict=True):
            column.missing_count = missing
        slug = f"{self.task.output}{answers.REJECTED}" if rejected else self.task.output
        return ledger.NewDataset(
            slug=slug,
            display_name=slug if rejected else self.claim.job.display_name or slug,
            sha256=joined.sha256,
            size_bytes=joined.size_bytes,
            row_count=joined.row_count,
            columns_json=encode_messages(columns),
        )

    def _files(self, slicer: Slicer, rows: int, *, rejected: bool) -> Iterator[Path]:
        """The files of the slices, each whole; one that was lost is made again."""
        for number in range(len(self.state.slices)):
            if self.stop():
                raise Stopped
            if not self._name(number, rejected=rejected):
                continue
            try:
                yield self.objects.fetch(self._name(number, rejected=rejected))
            except DataCorrupt as error:
                logger.warning("job %s: slice %d is made again: %s", self.claim.job.id, number, error)
                bounds = answers.slice_bounds(rows, len(self.state.slices), number)
                self.state.slices[number] = slicer.predict(*bounds, self.stop)
                yield self.objects.fetch(self._name(number, rejected=rejected))

    def _name(self, number: int, *, rejected: bool) -> str:
        done = self.state.slices[number]
        return done.rejected if rejected else done.answers

    def _columns(self, slicer: Slicer, dataset: DatasetRow) -> list[tables_pb2.Column]:
        """The columns of the answers as the contract describes them."""
        there = {column["name"]: column for column in json.loads(dataset.columns_json)}
        kept = [json_format.ParseDict(there[name], tables_pb2.Column()) for name in self.task.keep_columns]
        return [tables_pb2.Column(name=answers.ROW, type=tables_pb2.Column.INTEGER), *kept, *slicer.told.columns]

    def _tell_findings(self) -> None:
        counts, unseen = self.state.count(), sum(one.unseen for one in self.state.slices)
        if counts["rows_bad"]:
            column, reason = next(one.first for one in self.state.slices if one.bad)
            told = findings.rows_rejected(counts["rows_bad"], counts["rows_done"], column, reason)
            self.publisher.findings.append(told)
        if unseen:
            self.publisher.findings.append(findings.unseen_categories_predicted(unseen))

    def _inherit(self) -> None:
        """The slices of the checkpoint that are no epochs of this job yet, for another job has predicted them."""
        state, job = self.state, self.claim.job
        for first in range(job.epoch + 1, len(state.slices) + 1, EPOCHS_AT_ONCE):
            numbers = range(first, min(first + EPOCHS_AT_ONCE, len(state.slices) + 1))
            self.publisher.inherit([ledger.EpochFigures(one, _figures(state, one)) for one in numbers], 0)

    def _over(self) -> bool:
        """Whether to stop, or no time is left."""
        return self.stop() or (self.task.HasField("max_seconds") and self._seconds() >= self.task.max_seconds)

    def _seconds(self) -> float:
        return self.state.seconds + time.monotonic() - self.since

    def _checkpoint(self, origin: Origin) -> bytes:
        state = PredictState(self.state.slices, self._seconds())
        return predicted_slices.encode(state, origin, self.claim.job.id)

    def _remove_unused(self, names: Iterable[str]) -> None:
        """Remove files that no data set has; the folder is locked."""
        for name in dict.fromkeys(names):
            with self.database.read() as connection:
                used = datasets.object_in_use(connection, name)
            if not used:
                self.objects.delete(name)


def load_predictor(database: Database, claim: ledger.Claim, name: str) -> Predictor:
    """The model that the job names. Raises NotFound when it is gone, and as service.model_cache does."""
    wanted = references.parse_reference("models", name, claim.job.owner_name, f"job.{claim.job.kind}.model")
    with database.read() as connection:
        model = models.find(connection, claim.job.owner_id, wanted.slug, wanted.version)
    if model is None or wanted.owner_name != claim.job.owner_name:
        raise NotFound(
            f"there is no {name} any more: it was deleted while the job waited; name another version",
            metadata={"resource": name},
        )
    return model_cache.load_predictor(database, model)


def _counted(state: PredictState) -> dict[str, float]:
    return {name: float(count) for name, count in state.count().items()}


def _figures(state: PredictState, number: int | None = None) -> dict[tuple[str, str], float]:
    """The counts as figures of an epoch, which are of neither split."""
    return {(name, ""): float(count) for name, count in state.count(number).items()}
