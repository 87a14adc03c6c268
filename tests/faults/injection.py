"""Inside the processes under test: acts at a named point as the test has written it down, and plants a defect.

Loaded by injected/sitecustomize.py before anything of traind. Imports only what every process has loaded anyway.
"""

import errno
import importlib.machinery
import json
import os
import pathlib
import signal
import sys
import time

WAIT_S = 1.5
# What the point of a role is hit by: every word stands in the process's command line; of a trainer also in that of its
# parent, for its zygote rehearses all of a job's way before.
ROLES = {
    "api": ["service api"],
    "supervisor": ["-m worker"],
    "trainer": ["worker.trainer"],
    "migration": ["service migrate"],
}
ROLE_OF = (
    dict.fromkeys(["C1", "C2", "C3", "C16", "C17", "C18", "C20"], "api")
    | dict.fromkeys(["C4", "C5", "C14", "C15"], "supervisor")
    | dict.fromkeys(["C6", "C7", "C8", "C9", "C10", "C11", "C12", "C13"], "trainer")
    | {"C19": "migration"}
)


def install():
    """Replace the points of this process, and plant the defect that the environment names."""
    import service.points

    folder = pathlib.Path(os.environ["FAULTS_FOLDER"])
    service.points.point = Points(folder)
    patches = {"service.machine.keeper": _short_pauses, "worker.publishing": _every_epoch}
    patches["worker.rehearsal"] = _cold(folder)
    name = os.environ.get("FAULTS_DEFECT")
    if name:
        from tests.faults import defects

        patches |= defects.patches(name, folder)
    sys.meta_path.insert(0, After(patches))


def _short_pauses(keeper):
    """A stack that lives through a hundred deaths does not wait longer after each."""
    keeper.LONGEST_PAUSE_S = keeper.FIRST_PAUSE_S


def _every_epoch(publishing):
    """Tiny jobs are stored epoch by epoch, as those are whose epochs take longer."""
    publishing.PUBLISH_EVERY_S = 0.0


def _cold(folder):
    """A zygote does not get warm while the file `cold` is there."""

    def patch(rehearsal):
        rehearse = rehearsal.rehearse

        def rehearsing(settings):
            rehearse(settings)
            while (folder / "cold").exists():
                time.sleep(0.01)

        rehearsal.rehearse = rehearsing

    return patch


class After:
    """Calls a patch with a module as soon as that is imported."""

    def __init__(self, patches):
        self._patches = dict(patches)

    def find_spec(self, name, path=None, target=None):
        patch = self._patches.pop(name, None)
        if patch is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def execute_and_patch(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = execute_and_patch
        return spec


class Points:
    """`service.points.point` of a process under test.

    `armed.json` in the folder says at which hit of which point what happens: {"id", "point", "hit", "action"}. Hits of
    all processes are counted together, each by a file that only one of them can make, so that it happens once.
    """

    def __init__(self, folder):
        self._folder = folder

    def __call__(self, name):
        try:
            armed = json.loads((self._folder / "armed.json").read_bytes())
        except FileNotFoundError:
            return
        if armed["point"] != name or not plays(ROLE_OF[name]):
            return
        for hit in range(1, armed["hit"] + 1):
            if self._first(f"{armed['id']}-hit-{hit}"):
                if hit == armed["hit"]:
                    self._fire(armed)
                return

    def _first(self, name):
        try:
            os.close(os.open(self._folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return False
        return True

    def _fire(self, armed):
        action = armed["action"]
        frozen = kin() if action == "freeze" else []
        told = self._folder / f"{armed['id']}-{os.getpid()}"
        told.write_text(json.dumps({"pid": os.getpid(), "frozen": frozen}))
        told.rename(self._folder / f"{armed['id']}-fired")
        match action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "freeze":
                for pid in frozen:
                    os.kill(pid, signal.SIGSTOP)
            case "wait":
                # Its thread only: the others of the process go on.
                time.sleep(WAIT_S)
            case "error":
                raise OSError(errno.EIO, "Input/output error", str(self._folder / "secret"))


def plays(role):
    """Whether this process is of that role."""
    words = ROLES[role]
    own = all(word in command(os.getpid()) for word in words)
    return own and (role != "trainer" or all(word in command(os.getppid()) for word in words))


def kin():
    """Who is frozen with this process, itself last: a trainer's supervisor and zygote, else nobody keeps its lease."""
    me = os.getpid()
    if not plays("trainer"):
        return [me]
    zygote = os.getppid()
    return [parent(zygote), zygote, me]


def parent(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
