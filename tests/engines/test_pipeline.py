"""Programs joined by pipes: every exit status counts, nothing outlives the task, nothing leaks, nothing grows."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from tests.servers.base import is_alive
from upkeep.engines.pipeline import STDERR_KEPT, Command, Ended, Pipeline, capture, hint_for, run, together
from upkeep.errors import ToolFailed, ToolMissing

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
TRUE = Command(["cat"])
FAIL = Command(["sh", "-c", "cat; echo 'the reason' >&2; exit 3"])


def sh(script: str, **options: object) -> Command:
    return Command(["sh", "-c", script], **options)  # type: ignore[arg-type]


def child(program: str) -> subprocess.Popen[str]:
    """Another Python process with the pipeline's names at hand."""
    preamble = (
        "import os, signal, sys, threading, time\nfrom upkeep.engines.pipeline import *\nfrom upkeep.errors import *\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", preamble + program],
        env={**os.environ, "PYTHONPATH": str(PLUGINS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_loaded(pids: list[int], names: list[str]) -> None:
    """Until each process is the program itself; for its first moment it still is the one that sets up its end."""
    deadline = time.monotonic() + 30
    while [Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids] != names:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone_within(seconds: float, pids: list[int]) -> bool:
    deadline = time.monotonic() + seconds
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# Exit statuses.


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_failure_anywhere_in_the_pipe_fails_it(place: int) -> None:
    commands = [sh("printf data"), TRUE, TRUE]
    commands[place] = sh("printf data; exit 3") if place == 0 else FAIL
    with pytest.raises(ToolFailed, match="ended with exit status 3") as caught:
        run(commands, len)
    assert caught.value.status == 3


def test_a_reader_that_fails_is_named_and_not_its_writers_which_then_fail_of_a_broken_pipe() -> None:
    disk_full = sh("head -c 1000 > /dev/null; echo 'No space left on device' >&2; exit 4")
    for writer in (
        sh("exec yes"),
        sh("trap '' PIPE; exec yes"),  # says: standard output: Broken pipe
        sh("trap '' PIPE; yes 2> /dev/null; echo 'mysqldump: Got errno 32 on write' >&2; exit 5"),
    ):
        with pytest.raises(ToolFailed, match="No space left on device") as caught:
            run([writer, TRUE, disk_full], len)
        assert caught.value.status == 4
        assert "free space on the disk" in caught.value.hint


def test_a_writer_that_fails_is_named_and_not_its_readers_which_then_miss_the_end() -> None:
    breaks_off = sh("zstd -q -c /bin/sh | head -c 5000; echo 'server has gone away' >&2; exit 2")
    with pytest.raises(ToolFailed, match="sh ended with exit status 2: server has gone away"):
        run([breaks_off, Command(["zstd", "-q", "-d", "-c"]), sh("cat > /dev/null; exit 9")], len)


def test_a_program_ended_by_a_broken_pipe_is_a_failure_even_when_nothing_else_failed() -> None:
    """Its reader was content with the beginning; what it would have written is missing."""
    with pytest.raises(ToolFailed, match="yes ended with signal SIGPIPE"):
        run([Command(["yes"]), Command(["head", "-c", "10"])], len)


def test_an_exit_status_that_a_program_declares_harmless_passes() -> None:
    [ended] = run([sh("echo 'file changed as we read it' >&2; exit 1", ok_statuses=frozenset({0, 1}))], len)
    assert ended == Ended("sh", 1, "file changed as we read it\n")


def test_a_program_that_was_killed_is_a_failure_that_names_the_signal_and_where_to_look() -> None:
    with pytest.raises(ToolFailed, match="ended with signal SIGKILL: no message") as caught:
        run([sh("printf half; kill -9 $$")], len)
    assert caught.value.status == -signal.SIGKILL
    assert "out-of-memory" in caught.value.hint


def test_a_missing_program_is_a_failure() -> None:
    with pytest.raises(ToolFailed, match="no-such-program"):
        run([Command(["/nowhere/no-such-program"])], len)


def test_without_what_makes_programs_die_with_the_task_none_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="the program setpriv") as raised, Pipeline([Command(["/bin/true"])]):
        pass
    assert "util-linux" in raised.value.hint


def test_output_is_exact_to_the_byte_through_several_programs() -> None:
    expected = hashlib.sha256(bytes(range(256)) * 40_000).hexdigest()
    found = hashlib.sha256()
    source = Command(
        [sys.executable, "-c", "import sys; [sys.stdout.buffer.write(bytes(range(256)) * 400) for _ in range(100)]"]
    )
    run([source, TRUE, Command(["zstd", "-q", "-c"]), Command(["zstd", "-q", "-d", "-c"])], found.update)
    assert found.hexdigest() == expected


def test_what_is_fed_comes_out_of_the_last_program() -> None:
    with Pipeline([Command(["tr", "a-z", "A-Z"]), TRUE], feed=True) as pipeline:
        pipeline.stdin.write(b"fed")
        pipeline.stdin.close()
        assert b"".join(pipeline.output()) == b"FED"


def test_a_failing_sink_ends_every_program() -> None:
    def full(_: bytes) -> None:
        raise OSError("no space left")

    before = running_children()
    with pytest.raises(OSError, match="no space left"):
        run([Command(["yes"]), TRUE, TRUE], full)
    assert running_children() == before


def test_a_failure_while_starting_ends_what_was_started() -> None:
    def refuse(_: int) -> None:
        raise RuntimeError("the lock was not had")

    before = running_children()
    with pytest.raises(RuntimeError, match="the lock was not had"):
        run([Command(["sleep", "60"]), TRUE], len, started=refuse)
    assert running_children() == before


def running_children() -> set[int]:
    below = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(pid) for file in below for pid in file.read_text().split() if is_alive(int(pid))}


# Standard error.


def test_of_a_long_standard_error_the_end_is_kept_and_no_more() -> None:
    with pytest.raises(ToolFailed) as caught:
        run([sh("seq 200000 >&2; echo 'the reason' >&2; exit 1")], len)
    assert len(caught.value.stderr) <= STDERR_KEPT
    assert caught.value.stderr.endswith("199999\n200000\nthe reason\n")
    assert "the reason" in caught.value.message


def test_standard_error_is_read_while_nobody_reads_the_output() -> None:
    """A program whose standard error nobody drains stops after 64 KiB."""
    [ended] = run([sh("head -c 300000 /dev/zero | tr '\\0' 'e' >&2; printf done")], len)
    assert ended.status == 0


@pytest.mark.parametrize("secret", ["hunter2", "pass word/ü+&", "-----BEGIN KEY-----\nAAAA\nBBBB\n-----END KEY-----"])
def test_secrets_in_standard_error_are_masked(secret: str, capfd: pytest.CaptureFixture[str]) -> None:
    command = sh('printf "login with %s failed\\n" "$SECRET" >&2; exit 1', env={"SECRET": secret})
    with pytest.raises(ToolFailed) as caught:
        run([command], len, secrets=[secret])
    assert caught.value.stderr == "login with *** failed\n"
    assert secret not in str(caught.value) + repr(caught.value) + repr(command)
    assert secret not in "".join(capfd.readouterr())


def test_a_secret_that_the_cut_goes_through_is_not_left_half_masked() -> None:
    secret = "first-half-second-half"
    for shift in range(0, len(secret), 3):
        padding = STDERR_KEPT - len("second-half") - shift
        command = sh(
            f'printf "%s" "$SECRET" >&2; head -c {padding} /dev/zero | tr "\\0" . >&2; exit 1', env={"SECRET": secret}
        )
        with pytest.raises(ToolFailed) as caught:
            run([command], len, secrets=[secret])
        assert "half" not in caught.value.stderr


def test_standard_error_that_is_not_text_does_not_matter() -> None:
    with pytest.raises(ToolFailed, match="broken"):
        run([sh("printf 'broken \\377\\376' >&2; exit 1")], len)


PG_DUMP = """\
pg_dump: error: query failed: ERROR:  permission denied for table t
pg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE
"""
AGE = """\
age: error: no identity matched any of the recipients
age: report unexpected or unhelpful errors at https://filippo.io/age/report
"""
TAR = """\
tar: etc/x: Cannot open: Permission denied
tar: Exiting with failure status due to previous errors
"""
MYSQLDUMP = """\
mysqldump: Error: 'SELECT command denied' when trying to dump masking policies
mysqldump: Couldn't execute 'show events': Access denied for user 'x'@'%' to database 'h' (1044)

"""


@pytest.mark.parametrize(
    ("name", "stderr", "reason"),
    [
        ("pg_dump", PG_DUMP, "permission denied for table t (LOCK TABLE public.t IN ACCESS SHARE MODE)"),
        ("age", AGE, "age: error: no identity matched any of the recipients"),
        ("tar", TAR, "tar: etc/x: Cannot open: Permission denied"),
        ("mysqldump", MYSQLDUMP, "Access denied for user 'x'@'%' to database 'h' (1044)"),
    ],
)
def test_the_reason_is_the_line_that_says_what_went_wrong(name: str, stderr: str, reason: str) -> None:
    assert Ended(name, 1, stderr).reason.endswith(reason)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("mysqldump: Got error: 1045: Access denied for user 'u'@'h' (using password: YES)", "check user and password"),
        ("Access denied for user 'u'@'%' to database 'h' (1044)", "grant the account"),
        ("Access denied; you need (at least one of) the RELOAD privilege(s) for this operation", "grant the account"),
        ("x has insufficient privileges to SHOW CREATE FUNCTION `f`!", "grant the account"),
        ("SHOW VIEW command denied to user 'x'@'127.0.0.1' for table `h`.`v`", "grant the account"),
        (
            'connection to server at "h" (1.2.3.4), port 5432 failed: FATAL:  password authentication failed',
            "check user",
        ),
        ('connection to server failed: FATAL:  role "nobody" does not exist', "check user and password"),
        ('connection to server failed: FATAL:  database "x" does not exist', "check the database name"),
        ('connection to server failed: FATAL:  no pg_hba.conf entry for host "1.2.3.4"', "allowed to log in from this"),
        ('connection to server failed: FATAL:  permission denied for database "x"', "grant the account"),
        ("connection to server failed: Connection refused\n\tIs the server running?", "check that the server runs"),
        ('connection to server failed: FATAL:  role "up" is not permitted to log in', "a role needs LOGIN"),
        ("Host '10.0.0.5' is not allowed to connect to this MariaDB server", "log in from this worker"),
        ("connection to server failed: FATAL:  sorry, too many clients already", "takes no more connections"),
        ("connection to server failed: FATAL:  remaining connection slots are reserved", "takes no more connections"),
        ("(1040, 'Too many connections')", "takes no more connections"),
        ("connection to server failed: server does not support SSL, but SSL was required", "don't agree on TLS"),
        ("connection to server failed: SSL error: certificate verify failed", "don't agree on TLS"),
        ('could not translate host name "nowhere" to address: Name or service not known', "check the host"),
        ("Can't connect to MySQL server on 'nowhere' ([Errno -2] Name or service not known)", "check the host"),
        ("connection to server failed: FATAL:  the database system is starting up", "wait until it runs"),
        ("LOADING Redis is loading the dataset in memory", "wait until it runs"),
        ("(1049, \"Unknown database 'x'\")", "check the database name"),
        ("ERROR:  canceling statement due to statement timeout", "raise lock_timeout_s"),
        ("tar: etc/x: Cannot open: Permission denied", "let the account that this worker runs as read it"),
        ("zstd: error 70 : Write error : No space left on device", "free space"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "check user and password"),
        ("NOPERM this user has no permissions to run the 'sync' command", "grant the account"),
        ("what nobody has seen yet", "its last words are in the task's log"),
    ],
)
def test_the_hint_is_the_next_action_for_what_the_program_said(words: str, hint: str) -> None:
    assert hint in hint_for(words, 1)


# Memory.


def test_memory_stays_bounded_however_much_flows_through() -> None:
    """256 MB through three programs, and as much to standard error."""
    program = """
import resource
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = 0
def count(chunk):
    global size
    size += len(chunk)
source = Command(["sh", "-c", "head -c 256000000 /dev/zero; head -c 256000000 /dev/zero >&2"])
run([source, Command(["cat"]), Command(["cat"])], count)
print(size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    process = child(program)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    size, grown_mb = map(int, output.split())
    assert size == 256_000_000
    assert grown_mb < 24


def test_output_that_should_be_small_is_refused_when_it_is_not() -> None:
    with pytest.raises(ToolFailed, match=r"printed more than 1\.0 kB"):
        capture(Command(["yes"]), limit=1000)
    assert capture(Command(["printf", "small"]), limit=5) == b"small"


def test_no_descriptors_and_no_processes_are_left_behind() -> None:
    before, children = open_files(), running_children()
    for _ in range(5):
        run([sh("printf x"), TRUE], len)
        with pytest.raises(ToolFailed):
            run([sh("exit 1"), TRUE], len)
    assert open_files() == before
    assert running_children() == children


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# The end of the task.


@pytest.mark.parametrize("how", ["feed", "output"])
def test_programs_die_with_a_parent_that_is_killed(how: str) -> None:
    """SIGKILL can't be caught: no handler of the task runs, and yet no dump goes on without it."""
    process = child(f"""
with Pipeline([Command(["sleep", "300"]), Command(["cat"])], feed={how == "feed"}) as pipeline:
    print(*[process.pid for process in pipeline.processes], flush=True)
    time.sleep(300)
""")
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    wait_until_loaded(pids, ["sleep", "cat"])
    process.kill()
    process.communicate()
    assert gone_within(5, pids)


def test_a_task_told_to_stop_ends_its_programs_and_raises_stopped() -> None:
    process = child("""
signal.signal(signal.SIGTERM, lambda *_: Pipeline.stop_all())
try:
    with Pipeline([Command(["yes"]), Command(["cat"])]) as pipeline:
        print(*[process.pid for process in pipeline.processes], flush=True)
        for chunk in pipeline.output():
            time.sleep(0.01)
except Stopped as error:
    print("stopped:", error.message, flush=True)
try:
    run([Command(["true"])], len)
except Stopped:
    print("nothing more is started", flush=True)
""")
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    process.terminate()
    output, errors = process.communicate(timeout=30)
    assert output.splitlines() == [
        "stopped: yes was ended because the task was told to stop",
        "nothing more is started",
    ], errors
    assert gone_within(5, pids)


@pytest.mark.parametrize("where", ["finish", "a thread that reads", "a program that says nothing"])
def test_a_task_told_to_stop_does_not_wait_wherever_it_is(where: str) -> None:
    waiting = {
        "finish": 'run([Command(["sh", "-c", "exec >&-; exec sleep 300"])], len)',
        "a program that says nothing": 'run([Command(["sleep", "300"]), Command(["cat"])], len)',
        "a thread that reads": 'capture(Command(["sleep", "300"]))',
    }[where]
    process = child(f"""
signal.signal(signal.SIGTERM, lambda *_: Pipeline.stop_all())
print("ready", flush=True)
try:
    {waiting}
except Stopped:
    print("stopped", flush=True)
""")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    begun = time.monotonic()
    process.terminate()
    output, errors = process.communicate(timeout=30)
    assert output == "stopped\n", errors
    assert time.monotonic() - begun < 5


def test_a_program_that_hangs_after_closing_its_output_is_ended_by_a_timeout_of_the_task() -> None:
    """Airflow's execution_timeout raises in the main thread, out of the wait for the exit status."""
    process = child("""
def too_late(*_):
    raise TimeoutError("execution_timeout")
signal.signal(signal.SIGALRM, too_late)
signal.setitimer(signal.ITIMER_REAL, 1)
pids = []
try:
    with Pipeline([Command(["sh", "-c", "printf all; exec >&-; exec sleep 300"])]) as pipeline:
        pids = [process.pid for process in pipeline.processes]
        print(b"".join(pipeline.output()), flush=True)
        pipeline.finish()
except TimeoutError as error:
    print(error, [os.path.exists(f"/proc/{pid}") for pid in pids], flush=True)
""")
    output, errors = process.communicate(timeout=30)
    assert output.splitlines() == ["b'all'", "execution_timeout [False]"], errors


def test_ending_a_pipeline_also_ends_what_its_programs_started() -> None:
    with pytest.raises(KeyboardInterrupt), Pipeline([sh("sleep 300 & echo $!; wait")]) as pipeline:
        grandchild = int(next(pipeline.output()))
        assert is_alive(grandchild)
        raise KeyboardInterrupt
    assert gone_within(5, [grandchild])


def test_a_stop_reaches_pipelines_of_every_thread() -> None:
    process = child("""
results = []
def work():
    try:
        run([Command(["sleep", "300"])], len)
    except Stopped:
        results.append("stopped")
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
time.sleep(0.5)
Pipeline.stop_all()
[thread.join() for thread in threads]
print(*results)
""")
    output, errors = process.communicate(timeout=30)
    assert output.split() == ["stopped"] * 3, errors


def test_programs_get_the_environment_and_only_the_descriptors_they_are_given() -> None:
    reader, writer = os.pipe()
    other_reader, other_writer = os.pipe()
    os.set_inheritable(other_writer, True)
    try:
        os.write(writer, b"side channel")
        os.close(writer)
        script = f"printf '%s ' \"$GIVEN\"; cat /dev/fd/{reader}; [ -e /dev/fd/{other_writer} ] && printf leaked; true"
        assert capture(sh(script, env={"GIVEN": "secret"}, pass_fds=(reader,))) == b"secret side channel"
    finally:
        for descriptor in (reader, other_reader, other_writer):
            os.close(descriptor)


def test_the_first_programs_output_can_be_watched_before_anybody_reads_it() -> None:
    seen: list[str] = []

    def started(output: int) -> None:
        seen.append(str(Path(f"/proc/self/fd/{output}").readlink()))
        time.sleep(0.2)

    chunks: list[bytes] = []
    run([sh("printf whole"), TRUE], chunks.append, started=started)
    assert b"".join(chunks) == b"whole"
    assert seen[0].startswith("pipe:")


# Several side by side.


def test_nothing_reads_any_output_before_every_first_program_was_started_and_told_of() -> None:
    told: list[int] = []

    def started(output: int) -> None:
        told.append(output)
        assert [pipeline.processes[1:] for pipeline in pipelines] == [[], []]

    pipelines = [Pipeline([sh(f"printf {word}"), TRUE], started=started) for word in ("one", "two")]
    with together(pipelines):
        assert len(told) == 2
        assert [b"".join(pipeline.output()) for pipeline in pipelines] == [b"one", b"two"]
        for pipeline in pipelines:
            pipeline.finish()
    assert not Pipeline._running


def test_one_that_can_not_be_started_ends_those_that_were() -> None:
    def refuse(_: int) -> None:
        raise RuntimeError("the lock was not had")

    before = running_children()
    pipelines = [Pipeline([Command(["yes"]), TRUE]), Pipeline([Command(["yes"]), TRUE], started=refuse)]
    with pytest.raises(RuntimeError, match="lock"), together(pipelines):
        raise AssertionError("not all were started")
    assert running_children() == before
    assert not Pipeline._running


def test_a_killed_pipeline_fails_the_thread_that_reads_it() -> None:
    read: list[bytes] = []
    with (
        pytest.raises(ToolFailed, match="ended with signal SIGKILL"),
        Pipeline([Command(["sleep", "300"]), TRUE]) as pipeline,
    ):
        threading.Timer(0.1, pipeline.kill).start()
        read += pipeline.output()
        pipeline.finish()
    assert read == []


@pytest.mark.parametrize(("kilobytes", "seen"), [(0, 8_192), (32, 0)])
def test_a_program_collects_as_much_as_it_is_told_before_it_writes(tmp_path: Path, kilobytes: int, seen: int) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    waiting: list[int] = []

    def started(output: int) -> None:
        with fifo.open("wb", buffering=0) as feed:
            feed.write(b"x" * 99 + b"\n")
            feed.write(b"123456789\n" * 990)
            time.sleep(0.3)
            waiting.append(int.from_bytes(fcntl.ioctl(output, termios.FIONREAD, bytes(4)), sys.byteorder))

    total: list[int] = []
    run(
        [Command(["cut", "-b1-", str(fifo)], collect_kb=kilobytes), TRUE],
        lambda chunk: total.append(len(chunk)),
        started=started,
    )
    assert (waiting, sum(total)) == ([seen], 10_000)


def test_without_stdbuf_on_the_worker_it_works_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("setpriv", "printf"):
        (tmp_path / name).symlink_to(Path("/usr/bin", name))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert capture(Command(["printf", "whole"], collect_kb=32)) == b"whole"
