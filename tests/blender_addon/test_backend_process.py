"""The backend as a child process: the real one, and small programs that misbehave as it could."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.addon_parts import ROOT, backend_process, protocol
from tests.child_programs import Programs, is_alive, leaving, started, state, until

BackendError, BackendProcess = backend_process.BackendError, backend_process.BackendProcess
Failure, Heartbeat, Hello, Progress = (
    protocol.Failure,
    protocol.Heartbeat,
    protocol.Hello,
    protocol.Progress,
)
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and /proc")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(tmp_path)
    yield programs
    programs.end()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[backend_process.BackendProcess]:
    backend = BackendProcess([sys.executable], ROOT, tmp_path / "logs" / "backend.log")
    yield backend
    backend.stop(5.0)


def ended(backend: backend_process.BackendProcess) -> protocol.Failure:
    """Poll until it has ended by itself, and return the cause."""
    until(lambda: backend.poll() is None or not backend.running)
    assert backend.exit is not None
    return backend.exit


# The real backend ---------------------------------------------------------------------------------


def test_it_says_hello_beats_and_ends(real: backend_process.BackendProcess) -> None:
    assert not real.running
    process = started(real)
    assert real.running
    until(lambda: real.poll() is None or real.heartbeat)
    real.send(protocol.ListMethods())
    answers: list[object] = []
    until(lambda: answers.extend(real.poll()) or any_of(answers, protocol.Methods))
    real.stop(5.0)
    assert not real.running
    assert state(process) == ""
    assert (real.exit, real.hello, real.heartbeat) == (None, None, None)
    assert real.log_file.is_file()
    assert real.errors_file.read_text(encoding="utf-8") == ""


def any_of(answers: list[object], kind: type) -> bool:
    return any(isinstance(answer, kind) for answer in answers)


def test_it_starts_again_after_any_ending(real: backend_process.BackendProcess) -> None:
    first = started(real)
    os.kill(first, signal.SIGKILL)
    assert ended(real).kind == "memory"
    second = started(real)
    assert second != first
    assert real.exit is None
    real.stop()
    assert not real.running
    third = started(real)  # while the second may still be on its way out
    until(lambda: real.poll() is None or not is_alive(second))
    assert is_alive(third)
    real.start()
    assert started(real) == third


def test_spaces_and_other_letters_in_every_name(tmp_path: Path) -> None:
    folder = tmp_path / "Mein Ordner é 网"
    folder.mkdir()
    (folder / "backend").symlink_to(ROOT / "backend", target_is_directory=True)
    python = folder / "python é"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    backend = BackendProcess([str(python)], folder, folder / "das Log ü.log")
    started(backend)
    backend.stop(5.0)
    assert backend.log_file.is_file()


@posix_only
def test_blenders_own_python_settings_do_not_reach_it(
    real: backend_process.BackendProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    process = started(real)
    environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    names = {entry.partition(b"=")[0] for entry in environment if entry.startswith(b"PYTHON")}
    assert names == {b"PYTHONDONTWRITEBYTECODE", b"PYTHONNOUSERSITE", b"PYTHONUTF8"}
    assert os.getsid(process) == process  # a Ctrl-C in Blender's terminal is not for it


def test_a_python_without_our_libraries(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=sys.platform != "win32")
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    backend = BackendProcess([str(python)], ROOT, tmp_path / "backend.log")
    backend.start()
    failure = ended(backend)
    assert failure.kind == "library"
    assert "numpy" in failure.message
    assert "preferences" in failure.hint
    assert failure.message.count(". ") == 0
    assert failure.message.endswith(".")


# Not even started ---------------------------------------------------------------------------------


def test_no_python_there(tmp_path: Path) -> None:
    backend = BackendProcess([str(tmp_path / "no python")], ROOT, tmp_path / "backend.log")
    with pytest.raises(BackendError, match=r"There is no Python at '.*no python'; choose another"):
        backend.start()
    assert not backend.running
    assert backend.poll() == []
    with pytest.raises(BackendError, match="not running"):
        backend.send(protocol.ListMethods())


@posix_only
@pytest.mark.parametrize(("mode", "words"), [(0o644, "Permission denied"), (0o755, "Exec format")])
def test_a_python_that_is_none(tmp_path: Path, mode: int, words: str) -> None:
    python = tmp_path / "python"
    python.write_bytes(b"\0\0\0\0 no program")
    python.chmod(mode)
    with pytest.raises(BackendError, match=f"cannot be run as Python .{words}"):
        BackendProcess([str(python)], ROOT, tmp_path / "backend.log").start()


def test_no_backend_folder(tmp_path: Path) -> None:
    backend = BackendProcess([sys.executable], tmp_path / "gone", tmp_path / "backend.log")
    with pytest.raises(BackendError, match=r"folder '.*gone' is missing; install the extension"):
        backend.start()


def test_no_backend_in_the_folder(tmp_path: Path) -> None:
    backend = BackendProcess([sys.executable, "-S"], tmp_path, tmp_path / "backend.log")
    backend.start()
    failure = ended(backend)
    assert failure.kind == "library"
    assert "own files are missing" in failure.message


def test_no_place_for_the_log(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    backend = BackendProcess([sys.executable], ROOT, tmp_path / "file" / "backend.log")
    with pytest.raises(BackendError, match=r"log '.*' cannot be written"):
        backend.start()


# What it says -------------------------------------------------------------------------------------


def test_messages_arrive_whole_however_they_are_cut(make: Programs) -> None:
    backend = make("""
        hello()
        line = '{"type": "Progress", "fraction": 0.5, "stage": "Flächen 网"}'.encode() + b"\\n"
        for index in range(len(line)):
            os.write(1, line[index : index + 1])
            time.sleep(0.001)
        os.write(1, line + line[:20])
        time.sleep(0.05)
        os.write(1, line[20:])
        time.sleep(60)
    """)
    backend.start()
    answers: list[object] = []
    until(lambda: answers.extend(backend.poll()) or len(answers) == 4)
    assert answers[1:] == 3 * [Progress(0.5, "Flächen 网")]


def test_what_is_no_message_is_counted_and_noted(make: Programs) -> None:
    backend = make(r"""
        for line in (b"Loading weights...", b"\xff\xfe", b"[1]", b'{"type": "Nonsense"}', b"",
                     b'{"type": "Progress", "fraction": "half", "stage": ""}',
                     b'{"type": "Shutdown"}', b"[" * 100000, b"x" * 4500000):
            os.write(1, line + b"\n")
        for index in range(50):
            print("again")
        hello()
        time.sleep(60)
    """)
    started(backend)
    assert 8 + 50 <= backend.stray_lines <= 8 + 50 + 1  # the longest may come in two pieces
    notes = backend.log_file.read_text(encoding="utf-8").splitlines()
    assert len(notes) == 20
    assert "Loading weights..." in notes[0]
    assert max(map(len, notes)) < 400


@pytest.mark.parametrize("line", ["beat()", "print('noise')", "sys.stdout.write('noise')"])
def test_one_poll_does_little_in_a_flood(make: Programs, line: str) -> None:
    backend = make(f"hello()\nwhile True:\n    {line}")
    process = started(backend)
    time.sleep(0.3)
    most = 0
    for _ in range(30):
        strays = backend.stray_lines
        begin = time.process_time()
        answers = backend.poll()
        assert time.process_time() - begin < 0.1
        most = max(most, len(answers) + backend.stray_lines - strays)
    assert most <= 256
    backend.stop()
    until(lambda: backend.poll() is None or not leaving(backend))
    assert not is_alive(process)


# What it is told ----------------------------------------------------------------------------------


def test_a_message_larger_than_the_pipe_goes_in_pieces(make: Programs) -> None:
    backend = make("""
        hello()
        time.sleep(0.3)
        say("Progress", fraction=1.0, stage=str(len(ask()["inputs"])))
        time.sleep(60)
    """)
    started(backend)
    names = tuple(f"/a folder/picture {index}.png" for index in range(30_000))
    begin = time.monotonic()
    backend.send(protocol.Reconstruct(names, "mesh.npz"))
    assert time.monotonic() - begin < 0.25
    answers: list[object] = []
    until(lambda: answers.extend(backend.poll()) or answers)
    assert answers == [Progress(1.0, "30000")]


def test_one_that_no_longer_listens_is_given_up(make: Programs) -> None:
    backend = make(
        """
        hello()
        os.close(0)
        while True:
            beat()
            time.sleep(0.01)
        """,
        silence_limit=0.3,
    )
    process = started(backend)
    time.sleep(0.1)
    backend.send(protocol.ListMethods())
    assert "does not answer" in ended(backend).message
    until(lambda: backend.poll() is None or not leaving(backend))
    assert not is_alive(process)


@posix_only
def test_a_broken_pipe_never_ends_blender(tmp_path: Path) -> None:
    """Inside Blender before 4.4, Python leaves SIGPIPE deadly."""
    run_python(
        f"""
        import signal
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        from pathlib import Path
        from tests.addon_parts import protocol
        from tests.child_programs import Programs
        backend = Programs(Path({str(tmp_path)!r}))("os.close(0); time.sleep(0.5)")
        backend.start()
        while backend.running:
            backend.send(protocol.ListMethods())
            time.sleep(0.01)
            backend.poll()
        print("alive")
        """,
        "alive",
    )


# Silence ------------------------------------------------------------------------------------------


def test_one_that_hangs_is_ended_and_said_so(make: Programs) -> None:
    backend = make("hello()\ntime.sleep(60)", silence_limit=0.4)
    process = started(backend)
    failure = ended(backend)
    assert failure.kind == "crash"
    assert "does not answer (nothing heard for 0 s)" in failure.message
    assert "log" in failure.hint
    until(lambda: backend.poll() is None or not leaving(backend))
    assert state(process) == ""


def test_noise_is_no_sign_of_life(make: Programs) -> None:
    backend = make("while True:\n    print('noise', flush=True)", silence_limit=0.4)
    backend.start()
    assert "does not answer" in ended(backend).message


def test_heartbeats_keep_it_and_blenders_own_pauses_do_not_count(make: Programs) -> None:
    backend = make(
        "hello()\nwhile True:\n    beat()\n    time.sleep(0.05)\n    [beat() for _ in range(9)]",
        silence_limit=1.2,
    )
    started(backend)
    os.kill(process_of(backend), signal.SIGSTOP)
    while backend.poll():
        pass
    time.sleep(1.5)  # Blender renders, and the whole machine sleeps
    backend.poll()
    assert backend.running
    os.kill(process_of(backend), signal.SIGCONT)
    for _ in range(30):
        time.sleep(0.05)
        backend.poll()
    assert backend.running


def process_of(backend: backend_process.BackendProcess) -> int:
    assert backend.hello is not None
    return backend.hello.process


# Why it ended -------------------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize(
    ("program", "kind", "words"),
    [
        ("os.kill(os.getpid(), 9)", "memory", "memory is full (SIGKILL)"),
        ("sys.exit(137)", "memory", "(exit code 137)"),
        (
            "sys.stderr.write('  what():  std::bad_alloc\\n'); os.abort()",
            "memory",
            "std::bad_alloc.",
        ),
        ("raise MemoryError", "memory", "MemoryError"),
        ("import no_such_library", "library", "No module named 'no_such_library'."),
        (
            "raise ImportError('libcudart.so.12: cannot open shared object file')",
            "library",
            "libcudart.so.12",
        ),
        ("1 +", "library", "too old"),
        ("raise RuntimeError('CUDA error: device-side assert triggered')", "cuda", "device-side"),
        ("os.kill(os.getpid(), 11)", "crash", "unexpectedly (SIGSEGV)."),
        ("os._exit(3)", "crash", "unexpectedly (exit code 3)."),
        ("sys.exit('said\\n\\nat last.\\n')", "crash", "(exit code 1): at last."),
        ("sys.stderr.write('x' * 9999); sys.exit(1)", "crash", "xxx."),
        ("sys.stderr.write('CUDA error\\n')", "crash", "unexpectedly (exit code 0)."),
    ],
)
def test_cause_in_words(make: Programs, program: str, kind: str, words: str) -> None:
    backend = make(f"beat()\n{program}")
    backend.start()
    failure = ended(backend)
    assert failure.kind == kind
    assert words in failure.message
    assert len(failure.message) < 400
    assert failure.hint
    assert backend.exit is failure


def test_last_words_before_a_crash_are_heard(make: Programs) -> None:
    backend = make("hello()\nfor _ in range(2000):\n    beat()\nos.kill(os.getpid(), 9)")
    backend.start()
    answers: list[object] = []
    until(lambda: answers.extend(backend.poll()) or not backend.running)
    assert len(answers) == 2001
    assert [backend.running, backend.hello] == [False, None]


def test_windows_codes_read_as_windows_writes_them() -> None:
    failure = backend_process.exit_failure(0xC0000135, "")
    assert failure.kind == "library"
    assert "(exit code 0xc0000135)" in failure.message


# Endings ------------------------------------------------------------------------------------------

STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nhello()\nwhile True:\n    time.sleep(9)"


@posix_only
def test_stop_waits_as_long_as_asked_and_polls_do_the_rest(make: Programs) -> None:
    backend = make(STUBBORN)
    process = started(backend)
    begin = time.monotonic()
    backend.stop(0.2)
    assert 0.15 < time.monotonic() - begin < 0.5
    assert is_alive(process)
    assert not backend.running
    until(lambda: backend.poll() is None or not leaving(backend), 5.0)
    assert state(process) == ""
    assert backend.exit is None


@posix_only
def test_stop_with_time_enough_ends_even_a_stubborn_one(make: Programs) -> None:
    backend = make(STUBBORN)
    process = started(backend)
    backend.stop(10.0)
    assert state(process) == ""


@posix_only
@pytest.mark.parametrize("how", ["kill", "crash", "hang", "throw away"])
def test_its_workers_end_with_it(make: Programs, how: str) -> None:
    backend = make(
        """
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        hello()
        say("Progress", fraction=0.0, stage=str(worker.pid))
        ask()
        os.kill(os.getpid(), 11)
        """,
        silence_limit=1.0,
    )
    backend.start()
    answers: list[object] = []
    until(lambda: answers.extend(backend.poll()) or any_of(answers, Progress))
    [worker] = [int(answer.stage) for answer in answers if isinstance(answer, Progress)]
    assert is_alive(worker)
    if how == "kill":
        backend.kill()
    elif how == "crash":
        backend.send(protocol.ListMethods())
    elif how == "throw away":
        backend._child = None
    until(lambda: backend.poll() is None or not is_alive(worker), 5.0)


@posix_only
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "sys.exit()", "os._exit(0)"])
def test_no_orphan_when_blender_ends(tmp_path: Path, end: str) -> None:
    text = run_python(
        f"""
        import os
        from pathlib import Path
        from tests.addon_parts import ROOT, backend_process
        log = Path({str(tmp_path)!r}) / "backend.log"
        backend = backend_process.BackendProcess([sys.executable], ROOT, log)
        backend.start()
        while backend.hello is None:
            backend.poll()
        print(backend.hello.process, flush=True)
        {end}
        """
    )
    process = int(text)
    until(lambda: not is_alive(process), 5.0)


def run_python(program: str, expected: str = "") -> str:
    """Run a program that uses the add-on's parts; returns what it printed."""
    command = [sys.executable, "-c", "import sys, time\n" + textwrap.dedent(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert expected in done.stdout, done.stderr
    return done.stdout
