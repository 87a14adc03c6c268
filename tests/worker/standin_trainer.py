"""A zygote that learns nothing: the real protocol of worker/trainer.py around jobs that only behave.

The id of a job says how it shall behave, or the display name of its row, if there is a database; what it sees goes to
the file named by TRAIND_STANDIN_NOTES.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

from service import ledger
from service.store import jobs
from worker import trainer, zygote
from worker.supervisor import GRACE_S

NOTES = pathlib.Path(os.environ["TRAIND_STANDIN_NOTES"])


def note(text):
    with NOTES.open("a") as file:
        file.write(f"{text}\n")


def behave(ready, command, stop):
    claim, job = None, command["job"]
    if "TRAIND_DATABASE_URL" in os.environ:
        database = ready.database
        with database.read() as connection:
            row = jobs.find_by_id(connection, command["job"])
        claim, job = ledger.Claim(row, command["attempt"], command["worker"]), row.display_name
    note(f"began {os.getpid()} {os.getppid()} {job}")
    match job:
        case "succeeds":
            ledger.succeed(database, claim, None, metrics={}, best_epoch=0)
            return zygote.DONE
        case "lingers":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            ledger.succeed(database, claim, None, metrics={}, best_epoch=0)
            time.sleep(600)
        case "done":
            return zygote.DONE
        case "fenced":
            return zygote.FENCED
        case "left":
            return zygote.LEFT
        case "raises":
            raise RuntimeError("as asked")
        case "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "environment":
            note(" ".join(f"{name}={value}" for name, value in sorted(os.environ.items())))
            note(f"stdin {os.read(0, 10)!r}")
            return zygote.DONE
        case "stray":
            stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            note(f"stray {stray.pid}")
            return zygote.DONE
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            note("deaf")
            time.sleep(600)
        case "thorough":  # takes its time to store a checkpoint before it leaves
            while not stop():
                time.sleep(0.005)
            time.sleep(GRACE_S + 1)
            note("left by itself")
            return zygote.STOPPED
        case "obedient":
            while not stop():
                time.sleep(0.005)
            return zygote.STOPPED
    raise AssertionError(command)


def warm_up(_ready):
    note(f"warms up {os.getpid()}")
    time.sleep(float(os.environ.get("TRAIND_STANDIN_WARM_S", "0")))
    gate = os.environ.get("TRAIND_STANDIN_GATE")
    while gate and not pathlib.Path(gate).exists():
        time.sleep(0.005)


if __name__ == "__main__":
    trainer._warm_up = warm_up
    trainer._learn = behave
    trainer.main(sys.argv[1:])
