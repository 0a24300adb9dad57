from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from connector.file_lock import FileLock

_holder = """
import sys, time
from pathlib import Path
from connector.file_lock import FileLock
assert FileLock(Path(sys.argv[1])).acquire(wait=False)
print("held", flush=True)
time.sleep(60)
"""


def test_another_process_is_kept_out_until_the_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", _holder, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    lock = FileLock(path)
    assert not lock.acquire(wait=False)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert lock.acquire(wait=False)
    lock.release()


def test_two_locks_on_one_file_exclude_each_other_within_a_process(tmp_path: Path) -> None:
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.acquire(wait=False)
    assert not two.acquire(wait=False)
    assert not one.acquire(wait=False)
    one.release()
    assert two.acquire(wait=False)
    two.release()


def test_threads_take_turns(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    inside: list[int] = []
    most: list[int] = []

    def enter(n: int) -> None:
        for _ in range(50):
            with lock:
                inside.append(n)
                most.append(len(inside))
                inside.remove(n)

    threads = [threading.Thread(target=enter, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 200
    assert max(most) == 1


def test_whoever_is_refused_reads_what_the_holder_left(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert lock.read_note() == ""
    with lock:
        lock.note("process 12345")
        lock.note("process 9")
        assert FileLock(tmp_path / "lock").read_note() == "process 9"
