"""Twelve defects that a service like this one has had somewhere, each planted into a real process as it imports traind.

`patches(name, folder)` answers what is done to which module; a process that has planted its defect says so by a file.
"""

import dataclasses
import uuid


def patches(name, folder):
    """{module: patch} of the defect of that name."""

    def planting(patch):
        def plant(module):
            patch(module)
            (folder / "planted").touch()

        return plant

    return {module: planting(patch) for module, patch in DEFECTS[name].items()}


def unfenced(moves):
    """A worker's writes ask neither for its attempt nor for the state."""
    held, given = moves.job.c.id == moves.given("job_id"), moves.given
    stands = moves.job.c.epoch == given("stored")
    moves._RENEW = moves._moves(held, lease_until=moves.clock() + given("lease_s"))
    moves._TOUCH = moves._moves(held, worker=moves.job.c.worker)
    moves._PUBLISH = moves._moves(held & stands, **moves._PUBLISHED)
    moves._PUBLISH_WITH_CHECKPOINT = moves._moves(held & stands, **(moves._PUBLISHED | moves._NEW_CHECKPOINT))
    figures = {"best_epoch": given("best"), "metrics_json": given("figures")}
    moves._SUCCEED = moves._moves(held, state="SUCCEEDED", **figures, **moves._FINISH)
    failure = {"failure_reason": given("reason"), "failure_message": given("message")}
    moves._FAIL = moves._moves(held, state="FAILED", **failure, **moves._FINISH)


def published_before_commit(submissions):
    """The ticket goes out before the row is there."""
    take = submissions.take

    def taking(app, *arguments):
        app.job_queued()
        return take(dataclasses.replace(app, job_queued=lambda: None), *arguments)

    submissions.take = taking


def claimed_without_counting(moves):
    """A claim takes the attempt as it is."""
    job = moves.job
    claim = moves.update(job).where(job.c.id == moves._LONGEST_WAITING, job.c.state == "QUEUED")
    values = {
        "state": "RUNNING",
        "worker": moves.given("by"),
        "lease_until": moves.clock() + moves.given("lease_s"),
        "started_at": moves.func.coalesce(job.c.started_at, moves.clock()),
        **moves._ONE_EVENT,
    }
    moves._CLAIM = moves.Fixed(claim.values(**values).returning(job.c.id, *moves._STANDING))


def metrics_apart(attempts):
    """Figures are stored after the transaction that moved the job to their epoch."""
    publish_epochs, store_points = attempts.publish_epochs, attempts.store_points
    attempts.store_points = lambda *_: None

    def publish(database, claim, epochs, checkpoint, best_epoch):
        publish_epochs(database, claim, epochs, checkpoint, best_epoch)
        with database.write() as connection:
            store_points(connection, claim, epochs)

    attempts.publish_epochs = publish


def no_sweeper(dispatcher):
    """Nobody looks for lost jobs."""
    dispatcher.Dispatcher._sweep = lambda *_: None


def sweeper_by_age(moves):
    """A job that has run for long counts as lost, whether its lease was renewed or not."""
    job = moves.job
    aged = job.c.started_at < moves.clock() - 1.0
    moves._LOSE_EXPIRED = moves._lose(moves._HELD & aged)
    live = moves.one_of(job.c.state, moves.LIVE_STATES)
    moves._ALL_EXPIRED = moves.Fixed(moves.select(job.c.id, job.c.attempt).where(live, aged))


def no_random_state(checkpoints):
    """A checkpoint has not the state from which the next numbers are drawn."""
    capture = checkpoints.capture
    fresh = checkpoints.torch.Generator().get_state()
    checkpoints.capture = lambda state, origin: capture(state, origin) | {"torch_rng": fresh}


def no_owner_filter(jobs):
    """A job is found by its id, whoever asks."""
    jobs.find = lambda connection, _owner_id, job_id: jobs.find_by_id(connection, job_id)


def cancel_overwrites(moves):
    """A cancel that comes too late is made all the same."""
    after = {"QUEUED": "CANCELLED", "PAUSED": "CANCELLED", "RUNNING": "CANCELLING", "PAUSING": "CANCELLING"}
    moves._CANCEL = moves._asks(after | {"SUCCEEDED": "CANCELLED"})


def keyless_retry(transport):
    """Each try of a submission is a submission of its own."""
    stub_of = transport.Transport._stub

    class Keyless:
        def __init__(self, stub):
            self._stub = stub

        def with_call(self, request, **options):
            request.request_id = str(uuid.uuid4())
            return self._stub.with_call(request, **options)

    def stub(self, method, kind):
        made = stub_of(self, method, kind)
        return Keyless(made) if method.path.endswith("/CreateJob") else made

    transport.Transport._stub = stub


_late = []


def rowed_before_blob(artifacts):
    """The row of a model's weights is committed first ..."""
    store_small = artifacts.store_small

    def store(connection, data, kind, holder, artifact_id):
        if kind != "weights":
            store_small(connection, data, kind, holder, artifact_id)
            return
        artifacts._insert(connection, artifact_id, data, kind, "ready")
        artifacts._HOLD(connection, artifact=artifact_id, by=holder)
        _late.append(lambda later: artifacts._insert_chunk(later, artifact_id, 0, data))

    artifacts.store_small = store


def blob_after_row(ledger):
    """... and their bytes in a transaction of their own."""
    succeed = ledger.succeed

    def succeeding(database, *arguments, **named):
        name = succeed(database, *arguments, **named)
        with database.write() as connection:
            while _late:
                _late.pop()(connection)
        return name

    ledger.succeed = succeeding


def no_catch_all(statuses):
    """What nobody expected goes out as it is."""
    translate = statuses.translate

    def raising(error, method):
        if isinstance(error, statuses.TraindError):
            return translate(error, method)
        raise error

    statuses.translate = raising


DEFECTS = {
    "no fencing": {"service.store.moves": unfenced},
    "publish before commit": {"service.submissions": published_before_commit},
    "claim without attempt + 1": {"service.store.moves": claimed_without_counting},
    "metrics outside the transaction": {"service.attempts": metrics_apart},
    "no sweeper": {"service.dispatcher": no_sweeper},
    "sweeper by age": {"service.store.moves": sweeper_by_age},
    "missing random state": {"worker.checkpoints": no_random_state},
    "owner filter dropped": {"service.store.jobs": no_owner_filter},
    "terminal overwritten by cancel": {"service.store.moves": cancel_overwrites},
    "retry without key": {"traind.transport": keyless_retry},
    "blob written after row": {"service.store.artifacts": rowed_before_blob, "service.ledger": blob_after_row},
    "catch-all removed": {"service.calling.statuses": no_catch_all},
}
