"""Invariants I1-I13 as SQL that SQLite and PostgreSQL run unchanged: each answers what violates it, mostly nothing."""

from service.store.tables import LOSSES_CAP

# As service/ledger.py tells them; `lost` and `settle_stopped` may lead where the first column's verb leads.
LEGAL = [
    ("QUEUED", "RUNNING"),
    ("RUNNING", "PAUSING"),
    ("QUEUED", "PAUSED"),
    ("PAUSED", "QUEUED"),
    ("RUNNING", "CANCELLING"),
    ("PAUSING", "CANCELLING"),
    ("QUEUED", "CANCELLED"),
    ("PAUSED", "CANCELLED"),
    ("RUNNING", "SUCCEEDED"),
    ("PAUSING", "SUCCEEDED"),
    ("CANCELLING", "SUCCEEDED"),
    ("RUNNING", "FAILED"),
    ("PAUSING", "FAILED"),
    ("CANCELLING", "FAILED"),
    ("RUNNING", "QUEUED"),
    ("PAUSING", "PAUSED"),
    ("CANCELLING", "CANCELLED"),
]
STATES = ["QUEUED", "RUNNING", "PAUSING", "PAUSED", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED"]
# Staged artifacts that are younger may still be published.
GRACE_S = 3600


def _values(rows):
    return ", ".join("(" + ", ".join(f"'{value}'" for value in row) + ")" for row in rows)


# The events that tell a state, with its name out of their JSON text, where `{"state": "QUEUED"` comes first.
_TOLD = f"""WITH known(name) AS (VALUES {_values([(state,) for state in STATES])}),
told AS (SELECT e.job_id, e.seq, k.name AS state FROM event e
    JOIN known k ON e.body_json LIKE '%"state": "' || k.name || '"%' WHERE e.kind = 'state')"""
_ENDED = "('SUCCEEDED', 'FAILED', 'CANCELLED')"
_HELD = "('RUNNING', 'PAUSING', 'CANCELLING')"

RULES = {
    "I2 a job has not ended": f"SELECT id, state FROM job WHERE state NOT IN {_ENDED}",
    "I3 a job has more or less than one end": f"""{_TOLD}
        SELECT j.id, j.state, COUNT(t.seq) FROM job j LEFT JOIN told t ON t.job_id = j.id AND t.state IN {_ENDED}
        WHERE j.state IN {_ENDED} GROUP BY j.id, j.state HAVING COUNT(t.seq) <> 1 OR MAX(t.state) <> j.state""",
    "I4 something happened after the end": f"""{_TOLD}
        SELECT e.job_id, e.seq FROM event e JOIN told t ON t.job_id = e.job_id AND t.state IN {_ENDED}
        WHERE e.seq > t.seq""",
    "I5 an illegal move": f"""{_TOLD},
        legal(f, t) AS (VALUES {_values(LEGAL)}),
        moved AS (SELECT job_id, seq, state, LAG(state) OVER (PARTITION BY job_id ORDER BY seq) AS before FROM told)
        SELECT m.job_id, m.before, m.state FROM moved m LEFT JOIN legal l ON l.f = m.before AND l.t = m.state
        WHERE (m.before IS NULL AND m.state <> 'QUEUED') OR (m.before IS NOT NULL AND l.f IS NULL)""",
    "I5 the row is not where its last event is": f"""{_TOLD},
        last AS (SELECT job_id, MAX(seq) AS seq FROM told GROUP BY job_id)
        SELECT j.id, j.state, t.state FROM job j LEFT JOIN last l ON l.job_id = j.id
        LEFT JOIN told t ON t.job_id = l.job_id AND t.seq = l.seq WHERE t.state IS NULL OR t.state <> j.state""",
    "I6 a gap among the events": """
        SELECT j.id FROM job j LEFT JOIN event e ON e.job_id = j.id GROUP BY j.id, j.last_seq
        HAVING COUNT(e.seq) <> j.last_seq OR MIN(e.seq) <> 1 OR MAX(e.seq) <> j.last_seq""",
    "I7 a series lacks an epoch or has one too many": """
        SELECT j.id, s.name FROM job j JOIN series s ON s.job_id = j.id
        LEFT JOIN metric m ON m.job_id = s.job_id AND m.series_id = s.id
        WHERE j.kind = 'train' GROUP BY j.id, s.id, s.name, j.epoch
        HAVING COUNT(m.step) <> j.epoch OR (j.epoch > 0 AND (MIN(m.step) <> 1 OR MAX(m.step) <> j.epoch))""",
    "I7 a job with epochs has no history": """
        SELECT j.id FROM job j WHERE j.epoch > 0 AND NOT EXISTS
        (SELECT 1 FROM series s WHERE s.job_id = j.id AND s.name = 'train_loss')""",
    "I7 a point belongs to no series": """
        SELECT m.job_id, m.series_id FROM metric m LEFT JOIN series s ON s.job_id = m.job_id AND s.id = m.series_id
        WHERE s.id IS NULL""",
    "I8 success without a model, or a model without success": """
        SELECT j.id FROM job j LEFT JOIN model_version v ON v.job_id = j.id WHERE j.kind = 'train'
        AND ((j.state = 'SUCCEEDED') <> (v.id IS NOT NULL) OR (j.state = 'SUCCEEDED') <> (j.model_name <> ''))""",
    "I9 an attempt that was not counted": f"""{_TOLD}
        SELECT j.id, j.attempt FROM job j LEFT JOIN told t ON t.job_id = j.id AND t.state = 'RUNNING'
        GROUP BY j.id, j.attempt HAVING COUNT(t.seq) <> j.attempt""",
    "I9 lost too often and not failed": f"""
        SELECT id, losses FROM job WHERE losses > {LOSSES_CAP}
        OR (losses = {LOSSES_CAP} AND (state <> 'FAILED' OR failure_reason NOT IN ('WORKER_LOST', 'OUT_OF_MEMORY')))
        OR (losses < {LOSSES_CAP} AND failure_reason = 'WORKER_LOST')""",
    "I10 a lease of nobody": f"""
        SELECT id FROM job WHERE state NOT IN {_HELD} AND (lease_until <> 0 OR worker <> '')""",
    "I10 a checkpoint that its job does not name": """
        SELECT j.id, r.artifact_id FROM job j JOIN artifact_ref r ON r.holder = 'job:' || j.id
        WHERE r.artifact_id NOT IN (COALESCE(j.checkpoint_id, ''), COALESCE(j.older_checkpoint_id, ''))""",
    "I11 an artifact that nobody holds": """
        SELECT a.id FROM artifact a LEFT JOIN artifact_ref r ON r.artifact_id = a.id
        WHERE a.state = 'ready' AND r.artifact_id IS NULL""",
    "I11 chunks of no artifact": """
        SELECT c.artifact_id FROM artifact_chunk c LEFT JOIN artifact a ON a.id = c.artifact_id WHERE a.id IS NULL""",
    "I11 a holder that does not exist": """
        SELECT r.holder FROM artifact_ref r LEFT JOIN job j ON r.holder = 'job:' || j.id
        LEFT JOIN model_version v ON r.holder = 'model:' || v.id WHERE j.id IS NULL AND v.id IS NULL""",
    "I11 a model or checkpoint that is not held": """
        SELECT wanted.id FROM (SELECT artifact_id AS id FROM model_version UNION SELECT checkpoint_id FROM job
        UNION SELECT older_checkpoint_id FROM job) wanted
        LEFT JOIN artifact a ON a.id = wanted.id AND a.state = 'ready'
        LEFT JOIN artifact_ref r ON r.artifact_id = wanted.id
        WHERE wanted.id IS NOT NULL AND (a.id IS NULL OR r.artifact_id IS NULL)""",
    "I12 one request made two jobs": """
        SELECT owner_id, request_id FROM job WHERE request_id IS NOT NULL GROUP BY owner_id, request_id
        HAVING COUNT(*) > 1""",
    "I12 one submission made two jobs": """
        SELECT owner_id, display_name FROM job WHERE display_name LIKE 'submission %' AND parent_id IS NULL
        AND origin_json = ''
        GROUP BY owner_id, display_name
        HAVING COUNT(*) > 1""",
    "I13 failed without a reason that helps": """
        SELECT id, failure_reason FROM job WHERE state = 'FAILED'
        AND (failure_reason IS NULL OR failure_message IS NULL OR LENGTH(failure_message) < 20)""",
}


def missing(acknowledged):
    """I1: acknowledged jobs that are not there; for at least one name `jobs/{id}`."""
    rows = [(name.removeprefix("jobs/"),) for name in sorted(acknowledged)]
    return f"WITH ack(id) AS (VALUES {_values(rows)}) SELECT id FROM ack EXCEPT SELECT id FROM job"
