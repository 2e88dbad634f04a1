"""Programs joined by pipes, the last one's output read here in chunks.

A shell pipe reports only its last program, so ``dump | gzip`` publishes half a dump as a success. Here every program's
exit status counts, every program's standard error is kept, and no program outlives the task: each is started under
``setpriv --pdeathsig``, so the kernel ends it even when the task is killed with SIGKILL.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar

from upkeep.domain.masking import mask
from upkeep.domain.units import human_bytes
from upkeep.engines.background import in_background
from upkeep.engines.stopping import tell_to_stop, told_to_stop
from upkeep.errors import Stopped, ToolFailed, ToolMissing
from upkeep.settings import child_environment

log = logging.getLogger(__name__)

CHUNK = 1 << 20
PIPE_SIZE = 1 << 20
"""Bytes that a pipe takes before its writer waits; 64 KiB by default, and a dump then stops at every hiccup."""
STDERR_KEPT = 16 << 10
"""Bytes of standard error kept per program: the end, where the reason is."""


@dataclass(frozen=True)
class Command:
    """One program of a pipeline.

    ``env`` is added to the task's environment and is where secrets go; ``argv`` is visible to everybody on the machine.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    ok_statuses: frozenset[int] = frozenset({0})
    foreign: bool = False
    """Not a client of what is tended: it inherits no variable of Airflow and Upkeep, connections among them."""
    pass_fds: tuple[int, ...] = ()
    """Descriptors the program inherits: secrets in memory, side channels."""
    collect_kb: int = 0
    """KiB that the program collects before it writes, where the C library's own 4 make it write too often."""
    program: str = ""
    """What is run in the end, where ``argv`` is only the way there."""

    @property
    def name(self) -> str:
        return self.program or Path(self.argv[0]).name


@dataclass(frozen=True)
class Ended:
    """How one program ended; ``stderr`` is masked."""

    name: str
    status: int
    stderr: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.strip()]

    @property
    def lost_its_reader(self) -> bool:
        return (
            self.status == -signal.SIGPIPE or re.search("broken pipe|errno 32", self.stderr, re.IGNORECASE) is not None
        )

    @property
    def reason(self) -> str:
        """The line that says what went wrong: the last one, unless a program adds a query or a farewell to it."""
        lines = [line for line in self.lines if not line.endswith("Exiting with failure status due to previous errors")]
        marked = [place for place, line in enumerate(lines) if line.startswith(f"{self.name}: error: ")]
        if not marked:
            return lines[-1] if lines else ""
        # PostgreSQL's programs and age mark the line; PostgreSQL's then quote the query, which names the table.
        error, following = lines[marked[-1]], lines[marked[-1] + 1 :]
        query = f"{self.name}: detail: Query was: "
        return (
            f"{error} ({following[0].removeprefix(query)})" if following and following[0].startswith(query) else error
        )


class Pipeline:
    """Run ``commands`` joined by pipes.

    Use as a context manager; leaving the block by an exception ends every program. ``secrets`` are masked in whatever
    the programs print. ``started`` is called with the first program's output before the second one reads it.

    Enter it in a thread that outlives it: the kernel takes the thread that started a program for its parent.

    >>> with Pipeline([Command(["printf", "one"]), Command(["cat"])]) as pipeline:
    ...     b"".join(pipeline.output())
    b'one'
    """

    _running: ClassVar[set[Pipeline]] = set()

    def __init__(
        self,
        commands: Sequence[Command],
        *,
        secrets: Iterable[str] = (),
        feed: bool = False,
        started: Callable[[int], None] | None = None,
    ) -> None:
        self.commands = list(commands)
        self.started = started
        self.secrets = tuple(secrets)
        self.feed = feed
        self.processes: list[subprocess.Popen[bytes]] = []
        self._tails: list[_Tail] = []

    def __enter__(self) -> Pipeline:
        try:
            self.start_first()
            self.start_others()
        except BaseException:
            self.end()
            raise
        return self

    def start_first(self) -> None:
        """Start the first program alone and tell ``started`` of it; see ``together``."""
        self.check()
        Pipeline._running.add(self)
        process = self._start(self.commands[0], subprocess.PIPE if self.feed else subprocess.DEVNULL)
        if self.started and process.stdout:
            self.started(process.stdout.fileno())

    def start_others(self) -> None:
        for command in self.commands[1:]:
            upstream = self.processes[-1].stdout
            self._start(command, upstream)
            if upstream is not None:
                upstream.close()  # only the next program may hold it, or a dead reader would never be noticed

    def _start(self, command: Command, stdin: int | IO[bytes] | None) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *_collecting(command.collect_kb), *command.argv],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_environment(command.env, foreign=command.foreign),
                start_new_session=True,
                pass_fds=command.pass_fds,
                bufsize=0,
            )
        except FileNotFoundError as error:
            raise ToolMissing(
                "the program setpriv is not installed on this worker", hint="apt-get install util-linux"
            ) from error
        self.processes.append(process)
        self._tails.append(_Tail(process))
        if told_to_stop():  # told so while it was started, when there was nothing to kill yet
            self.kill()
        if process.stdout:
            with suppress(OSError):  # this user's pipes have as much memory as they may
                fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        return process

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.end()
        else:
            self.finish()

    @property
    def stdin(self) -> IO[bytes]:
        stdin = self.processes[0].stdin
        if stdin is None:
            raise ValueError("this pipeline was not started with feed=True")
        return stdin

    def write(self, chunk: bytes) -> None:
        """Feed the first program. Errors: ``BrokenPipeError`` when it reads no more; ``finish`` says why."""
        view = memoryview(chunk)
        while view:
            view = view[self.stdin.write(view) or 0 :]  # a signal can make a write end early

    def output(self) -> Iterator[bytes]:
        """The last program's output in chunks of at most 1 MiB, until it closes it."""
        stdout = self.processes[-1].stdout
        if stdout is None:
            raise ValueError("this pipeline has not been started")
        descriptor = stdout.fileno()
        while chunk := os.read(descriptor, CHUNK):
            yield chunk
        self.check()

    def finish(self) -> list[Ended]:
        """Wait for every program and judge each one's exit status.

        Errors: ``ToolFailed`` names the first program of the pipe that failed by itself: the end of its output makes
        its readers fail, and a reader that died makes its writers fail of a broken pipe; both would hide the cause.
        """
        if self.processes[0].stdin and not self.processes[0].stdin.closed:
            self._close(self.processes[0].stdin)
        stdout = self.processes[-1].stdout
        if stdout and not stdout.closed:
            while os.read(stdout.fileno(), CHUNK):
                pass
            stdout.close()
        ended = [self._ended(place) for place in range(len(self.processes))]
        Pipeline._running.discard(self)
        self.check()
        failed = [
            (command, end)
            for command, end in zip(self.commands, ended, strict=True)
            if end.status not in command.ok_statuses
        ]
        if failed:
            by_themselves = [(command, end) for command, end in failed if not end.lost_its_reader]
            command, end = by_themselves[0] if by_themselves else failed[-1]
            raise ToolFailed(
                f"{command.name} ended with {_status_in_words(end.status)}: {end.reason or 'no message'}",
                hint=hint_for(end.stderr, end.status),
                status=end.status,
                stderr=end.stderr,
            )
        return ended

    def check(self) -> None:
        """Errors: ``Stopped`` when the task was told to stop."""
        if told_to_stop():
            raise _stopped(self.commands[0].name)

    def kill(self) -> None:
        """Kill what still runs. Whoever reads the output, in whatever thread, meets its end, and ``finish`` fails."""
        for process in list(self.processes):
            if process.poll() is None:
                _kill_group(process.pid)

    def end(self) -> None:
        """Kill what still runs and wait for it; never raises on a program that is already gone."""
        self.kill()
        for process, tail in zip(self.processes, self._tails, strict=True):
            process.wait()
            tail.join()
            for stream in (process.stdin, process.stdout):
                if stream and not stream.closed:
                    self._close(stream)
        Pipeline._running.discard(self)

    @classmethod
    def stop_all(cls) -> None:
        """Kill the programs of every pipeline in this process: the task was told to stop.

        Each pipeline's reader then meets the end of its input and raises ``Stopped``, so that clean-up and the
        ledger's finished row still happen.
        """
        tell_to_stop()
        for pipeline in list(cls._running):
            pipeline.kill()

    def _ended(self, place: int) -> Ended:
        process, command = self.processes[place], self.commands[place]
        status = process.wait()
        return Ended(command.name, status, mask(self._tails[place].text(), self.secrets)[-STDERR_KEPT:])

    @staticmethod
    def _close(stream: IO[bytes]) -> None:
        with suppress(BrokenPipeError):  # the reader is gone; its exit status says why
            stream.close()


@contextmanager
def together(pipelines: Sequence[Pipeline]) -> Iterator[None]:
    """Start several pipelines; each one's ``started`` is called before anything reads any one's output.

    The block has to ``finish`` each of them. An exception ends all of them.
    """
    try:
        for pipeline in pipelines:
            pipeline.start_first()
        for pipeline in pipelines:
            pipeline.start_others()
        yield
    except BaseException:
        for pipeline in pipelines:
            pipeline.end()
        raise


class _Tail:
    """Keeps the end of a program's standard error, however much it prints.

    Twice as much as is shown: a secret that the cut goes through lies in the part that isn't shown.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._kept = bytearray()
        self._stream = process.stderr
        self._drained = in_background(self._drain, name=f"stderr of {process.pid}")

    def _drain(self) -> None:
        if self._stream is None:
            return
        with self._stream:
            while chunk := os.read(self._stream.fileno(), CHUNK):
                self._kept += chunk
                del self._kept[: -2 * STDERR_KEPT]

    def join(self) -> None:
        self._drained.exception()  # waits

    def text(self) -> str:
        self.join()
        return self._kept.decode("utf-8", "replace")


def run(
    commands: Sequence[Command],
    sink: Callable[[bytes], object],
    *,
    secrets: Iterable[str] = (),
    started: Callable[[int], None] | None = None,
) -> list[Ended]:
    """Run a pipeline to its end and hand its output to ``sink`` in chunks. Errors: as ``Pipeline.finish``."""
    with Pipeline(commands, secrets=secrets, started=started) as pipeline:
        for chunk in pipeline.output():
            sink(chunk)
        return pipeline.finish()


def capture(command: Command, *, secrets: Iterable[str] = (), limit: int = 64 << 20) -> bytes:
    """The whole output of one program whose output is small (at most ``limit`` bytes). Errors: ``ToolFailed``."""
    kept = bytearray()

    def keep(chunk: bytes) -> None:
        if len(kept) + len(chunk) > limit:
            raise ToolFailed(
                f"{command.name} printed more than {human_bytes(limit)}",
                hint="report this: the output should be small",
                status=0,
            )
        kept.extend(chunk)

    run([command], keep, secrets=secrets)
    return bytes(kept)


def _collecting(kilobytes: int) -> list[str]:
    """Without coreutils' stdbuf on the worker it takes longer, and that is all."""
    stdbuf = shutil.which("stdbuf") if kilobytes else None
    return [stdbuf, f"--output={kilobytes}K"] if stdbuf else []


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # ended between the look and the kill
    except PermissionError:
        log.warning("process %s runs as another account (sudo?) and can't be ended from here: it is waited for", pid)


def _status_in_words(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


_HINTS = {
    "the connection to pod .* was cut": (
        "the pod was stopped, or the network to the API server or between it and the node broke: run the task again"
    ),
    'cannot (get|create) resource "pods/': ("let the account do it: include/kubernetes/pod_exec.yaml has the rights"),
    "(open|stat|read|opendir|savedir): permission denied": (
        "let the account that this worker runs as read it, or take it out of the site file"
    ),
    "access denied.* to database|insufficient privileges|permission denied|must be (super)?owner|"
    r"need\(?s?\)? .*privilege|command denied|process privilege|noperm": (
        "grant the account the missing privilege: upkeep grants --site SITE prints the statements"
    ),
    'access denied|authentication failed|no password supplied|no pg_hba.conf entry|role ".*" does not exist|'
    "noauth|wrongpass|invalid username-password": (
        "check user and password of the Airflow connection; the account must be allowed to log in from this worker"
    ),
    "lock timeout|lock wait timeout|due to statement timeout": (  # pg_dump waits for its locks under the latter
        "a session holds a lock on the object named above: let it finish, or raise lock_timeout_s in the site file, "
        "then run the task again"
    ),
    "no space left|disk full|disk quota": "free space on the disk named above, then run the task again",
    'unknown database|database ".*" does not exist': "check the database name in the site file and in the connection",
    "not permitted to log in|not allowed to connect|is blocked because": (
        "let the connection's account log in from this worker: a role needs LOGIN, a MySQL account a host that fits; "
        "a host that was blocked is let in again by mariadb-admin flush-hosts"
    ),
    "too many (clients|connections)|connection slots are|max number of clients|max_user_connections": (
        "the server takes no more connections: end idle ones or raise its limit, then run the task again"
    ),
    "certificate|support ssl|require_secure_transport|ssl connection error|tls/ssl error": (
        "this worker and the server don't agree on TLS: check sslmode and the CA (on MySQL: ssl) in the extra of the "
        "Airflow connection"
    ),
    "translate host name|resolve host|name or service not known|name resolution": (
        "check the host of the Airflow connection, and that this worker's DNS knows it"
    ),
    "starting up|shutting down|loading the dataset": (
        "the server is starting or stopping: wait until it runs, then run the task again"
    ),
    # Last of all, since PostgreSQL puts "connection to server" before every reason for which it turns a client away.
    "lost connection|gone away|connection refused|can't connect|could not connect|server closed the connection|"
    "terminating connection|connection to server|connection reset": (
        "check that the server runs and that this worker reaches its port, then run the task again"
    ),
}


def hint_for(stderr: str, status: int) -> str:
    """The next action for what a client program said; falls back to where its words can be read."""
    for pattern, hint in _HINTS.items():
        if re.search(pattern, stderr, re.IGNORECASE):
            return hint
    if status < 0:
        return "something killed it: look for an out-of-memory kill in the worker's kernel log, then run the task again"
    return "its last words are in the task's log; run the task again once the cause is mended"


def _stopped(name: str) -> Stopped:
    return Stopped(
        f"{name} was ended because the task was told to stop", hint="run the task again; nothing half done counts"
    )
