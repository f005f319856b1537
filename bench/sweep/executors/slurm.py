"""Each job as a job of SLURM, submitted through submitit; those asked together as one array.

All that passes between driver and workers are files of one shared folder, named by SLURM's id of
the job: what was submitted, its events, its output. So a driver may be killed, and the next one
finds the jobs of the first.
"""

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import submitit
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError, JobPaths

from bench.data.roots import home
from bench.errors import BenchError
from bench.records.place import QUEUE, Place
from bench.study.fields import Study
from bench.sweep.executors import Handle
from bench.sweep.executors.eventfile import read_events
from bench.sweep.executors.node import work
from bench.sweep.executors.sbatch import ENDED, Queue, sbatch_parameters
from bench.sweep.job import Begun, Done, Event, Job, Last, Lost

SLOTS = 16
"""Jobs in the queue at a time, unless told: more would have TPE choose without having seen any."""
GRACE = 60.0
"""Seconds that a job may have been over before it is lost: so long another machine's last words may
take to be seen on NFS."""
EVERY = 15.0
"""Seconds between two looks at the queue."""
AGAIN = 30.0
"""Seconds until jobs that SLURM would not take are submitted again."""
BUSY = re.compile(
    r"timed out|unable to contact|connection|communication|temporarily|socket|slurm controller",
    re.I,
)
"""What sbatch says when it is not the job's fault."""


@dataclass
class Sent:
    """A job that SLURM has."""

    id: str
    job: Job
    read: int = 0
    """Bytes of its events that have been heard."""
    over: float = 0.0
    """Since when it is known to have ended, by the monotonic clock; 0: it has not."""


class SlurmExecutor:
    """Jobs in a cluster's queue. Close cancels them; a driver that is killed leaves them running,
    and the next one takes up those of them that it would submit."""

    def __init__(
        self,
        folder: Path,
        slots: int,
        submitter: submitit.Executor,
        queue: Queue,
        note: Callable[[str], None],
        grace: float,
    ) -> None:
        """folder: shared by all machines, and no other study's. grace: seconds that a job may have
        been over before it is lost."""
        self._slots = slots
        self._folder, self._submitter, self._queue = folder, submitter, queue
        self._note, self._grace = note, grace
        self._asked: dict[Handle, Job] = {}
        """Not yet submitted."""
        self._sent: dict[Handle, Sent] = {}
        self._left: dict[str, Sent] | None = None
        """Those of an earlier driver, by the name of the record that they give; None: not looked
        for, as another driver may have the study."""
        self._next, self._wait = 0, 0.0
        self._largest = 0
        self._reasons = {"None", "Priority", "Resources", "JobArrayTaskLimit"}
        """Of waiting, which need no word or have been said."""

    @property
    def slots(self) -> int:
        """How many jobs may be in the queue.

        A driver asks when the study is its own: the time to look for what an earlier one left.
        """
        self._left = self._find() if self._left is None else self._left
        return self._slots

    def _find(self) -> dict[str, Sent]:
        found = {}
        for path in sorted(self._folder.glob("*_submitted.pkl")):
            id_ = path.name.removesuffix("_submitted.pkl")
            try:
                job = DelayedSubmission.load(path).args[0]
            except Exception:  # of other code, which is not what would be submitted today
                self._withdraw([id_])
                continue
            found[job.file_name] = Sent(id_, job)
        if found:
            self._note(f"SLURM: jobs of an earlier sweep that are still there: {len(found)}")
        return found

    def submit(self, job: Job) -> Handle:
        """Takes a job up that an earlier driver has submitted, or submits it with all others that
        are asked before events are."""
        assert self._left is not None, "slots come first"
        self._next += 1
        left = self._left.pop(job.file_name, None)
        if left and (left.job.fingerprint, left.job.stages) == (job.fingerprint, job.stages):
            self._sent[self._next] = left
            return self._next
        if left:
            self._withdraw([left.id])
        self._asked[self._next] = job
        return self._next

    # --- what the driver hears -------------------------------------------------------------------

    def events(self, timeout: float) -> Iterator[tuple[Handle, Event]]:
        """Yields what has come; a job's files go when its last event has been acted upon."""
        yield from self._send()
        heard = False
        for handle, sent in list(self._sent.items()):
            for event in self._said(sent):
                if handle not in self._sent:
                    break  # cancelled for what it said before
                heard = True
                yield handle, event
                if isinstance(event, Last):
                    del self._sent[handle]
                    self._remove(sent.id, output=isinstance(event, Done) and not _failed(event))
        if not heard:
            time.sleep(timeout)

    def _said(self, sent: Sent) -> list[Event]:
        """What a job has said since the last time; Lost if it has gone without a last word."""
        over = self._is_over(sent)  # looked at first: what it said before that is then there
        events: list[Event] = []
        try:
            events, sent.read = read_events(self._path(sent.id, "events"), sent.read)
        except OSError:
            pass  # a shared folder in trouble: it may answer next time
        except Exception as error:  # unpickling what other code has written raises anything
            return [Lost(f"SLURM job {sent.id}: its events cannot be read: {error}")]
        if events and isinstance(last := events[-1], Done) and _failed(last):
            reason = f"{last.cell.reason}\n{self._output(sent.id)}"
            events[-1] = Done(last.cell.model_copy(update={"reason": reason}))
        elif over and not (events and isinstance(events[-1], Last)):
            events.append(Lost(f"SLURM job {sent.id} {over}. {self._output(sent.id)}"))
        return events

    def _is_over(self, sent: Sent) -> str:
        """How a job has ended, if it has for longer than its last words may take."""
        states = self._queue.states()
        self._tell_reason((states or {}).get(sent.id, ""))
        if JobPaths(self._folder, sent.id).result_pickle.exists():
            how = "ended without a result"
        elif states is None:
            return ""  # nobody knows: it may be as before
        elif sent.id not in states:
            how = "is not in SLURM's queue any more"
        else:
            state = states[sent.id].split(maxsplit=1)[0]
            how = f"ended without a result ({state})" if state in ENDED else ""
        if not how:
            sent.over = 0.0
            return ""
        sent.over = sent.over or time.monotonic()
        return how if time.monotonic() - sent.over >= self._grace else ""

    def _tell_reason(self, state: str) -> None:
        """Says why a job waits if it is not for others, such as a limit that it can never meet."""
        waits = re.fullmatch(r"PENDING \((\w+)\)", state)
        if waits and waits[1] not in self._reasons:
            self._reasons.add(waits[1])
            self._note(f"SLURM lets jobs wait: {waits[1]} (squeue's manual says what that is)")

    def _output(self, id_: str) -> str:
        """Where a job's output is, and its last line."""
        path = JobPaths(self._folder, id_).stdout
        with contextlib.suppress(OSError):
            lines = map(str.strip, path.read_bytes().decode(errors="replace").splitlines())
            said = [line for line in lines if line and not line.startswith("submitit ")]
            return f"Its output: {path}" + (f". Its last line: {said[-1]}" if said else "")
        return "It has no output."

    # --- what SLURM is told ----------------------------------------------------------------------

    def _send(self) -> Iterator[tuple[Handle, Event]]:
        """Submits what has been asked."""
        while self._asked and time.monotonic() >= self._wait:
            self._largest = self._largest or self._queue.largest_array()
            handles = list(self._asked)[: self._largest]
            jobs = [self._asked[handle] for handle in handles]
            more = f"+{len(jobs) - 1}" if len(jobs) > 1 else ""
            name = f"{jobs[0].study.name}:{jobs[0].file_name}{more}"
            self._submitter.update_parameters(job_name=name)
            try:
                with _outside_of_a_job():
                    sent = self._submitter.map_array(
                        work, jobs, repeat(self._folder), repeat(sys.path)
                    )
            except (FailedJobError, FailedSubmissionError) as error:
                self._refused(str(error).strip())
                return
            for handle, job, its in zip(handles, jobs, sent, strict=True):
                self._sent[handle] = Sent(its.job_id, job)
                del self._asked[handle]
                yield handle, Begun(QUEUE)

    def _refused(self, why: str) -> None:
        """Tries again later. Raises BenchError if that would be in vain: nothing is under way."""
        if not self._sent and not BUSY.search(why):
            raise BenchError(
                f"SLURM refuses the study's jobs: {why}. What they ask for stands under "
                "`resources` in the study, and --slurm key=value overrides it; without GPUs: "
                "resources: {gpus: 0}."
            )
        self._note(f"SLURM does not take more jobs ({why.splitlines()[-1]}); trying again")
        self._wait = time.monotonic() + AGAIN

    def cancel(self, handle: Handle) -> None:
        self._asked.pop(handle, None)
        if sent := self._sent.pop(handle, None):
            self._withdraw([sent.id])

    def close(self) -> None:
        """Cancels what is under way, and what an earlier driver left that nobody has taken up."""
        if self._left is None:
            return
        ids = [sent.id for sent in (*self._sent.values(), *self._left.values())]
        self._asked, self._sent, self._left = {}, {}, None
        if ids:
            self._withdraw(ids)
            self._note(f"SLURM: jobs cancelled: {len(ids)}")
        for path in (*self._folder.glob("*.sh"), *self._folder.glob("*.pkl")):
            path.unlink(missing_ok=True)

    def _withdraw(self, ids: Sequence[str]) -> None:
        """Cancels jobs. One that SLURM does not hear of now ends by itself: its file is gone."""
        for id_ in ids:
            self._remove(id_, output=True)
        self._queue.cancel(ids)

    def _remove(self, id_: str, output: bool) -> None:
        paths = JobPaths(self._folder, id_)
        files = [paths.submitted_pickle, paths.result_pickle, self._path(id_, "events")]
        for path in [*files, *([paths.stdout] if output else [])]:
            path.unlink(missing_ok=True)

    def _path(self, id_: str, what: str) -> Path:
        return self._folder / f"{id_}_{what}"


def slurm_executor(
    study: Study, slots: int | None, options: Sequence[str], note: Callable[[str], None]
) -> SlurmExecutor:
    """Returns the executor of a study on this cluster. options: "key=value" of sbatch.

    Raises BenchError where there is no SLURM, and for what sbatch cannot be told.
    """
    if shutil.which("sbatch") is None:
        raise BenchError(
            "--executor slurm: no program sbatch in PATH. Run this on a login node of a cluster."
        )
    folder = Place(home(), study.name).slurm
    submitter = submitit.SlurmExecutor(folder)
    submitter.update_parameters(**sbatch_parameters(study, options))
    return SlurmExecutor(folder, slots or SLOTS, submitter, Queue(note, EVERY), note, GRACE)


@contextlib.contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Hides the job that the driver itself may run in: sbatch would take its options over."""
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(("SLURM_", "SUBMITIT_")) and name != "SLURM_CONF"
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def _failed(event: Done) -> bool:
    return event.cell.state == "failed"
