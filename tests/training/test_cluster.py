"""Shards on a Ray cluster of two nodes on this machine, one of which is killed in mid-run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import dataset_files as files
from backend.errors import InputError
from tests.conftest import ROOT
from tests.dataset_parts import SETTINGS, contents
from training.cluster import ShardEnd, render_on_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# Renders as the real one does: passes over finished objects, and writes the record last. The file
# "log" tells of each object's beginning and end, "running" which process is at work on it.
RENDERER = """
import os, sys, time
from pathlib import Path
from backend import dataset_files as files
from tests.dataset_parts import SETTINGS

dataset, log, keys = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(",")
number, count = map(int, sys.argv[sys.argv.index("--shard") + 1].split("/"))

def note(word, key):
    with log.open("a") as file:
        file.write(f"{word} {key} {os.getpid()}\\n")

for key in keys[number - 1 :: count]:
    if files.is_rendered(dataset, key, SETTINGS):
        continue
    note("begin", key)
    folder = files.start_object(dataset, key)
    (folder / "mesh.ply").write_text(key)
    time.sleep(0.4)
    files.finish_object(dataset, files.ObjectRecord(key, files.settings_hash(SETTINGS)))
    note("end", key)
"""
KEYS = [f"objects/o{i:02d}" for i in range(24)]


def renderer(dataset: Path, log: Path) -> list[str]:
    files.open_dataset(dataset, SETTINGS, "shapes")
    return [sys.executable, "-c", RENDERER, str(dataset), str(log), ",".join(KEYS)]


@pytest.fixture(autouse=True)
def project_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")


@pytest.fixture
def cluster(project_is_found: None) -> Iterator:
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield made
    made.shutdown()


def words(log: Path, word: str) -> list[str]:
    return [line.split()[1] for line in log.read_text().splitlines() if line.startswith(word)]


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def uninterrupted(folder: Path, log: Path) -> dict[str, bytes]:
    command = [*renderer(folder, log), "--shard", "1/1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    files.compose_dataset(folder)
    return contents(folder)


def test_a_killed_node_loses_nothing_and_does_nothing_twice(cluster, tmp_path: Path) -> None:
    dataset, log = tmp_path / "d", tmp_path / "log"
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    killed_at: list[int] = []

    def kill() -> None:
        while not log.exists() or len(words(log, "end")) < 6:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        killed_at.append(len(words(log, "end")))

    killer = threading.Thread(target=kill)
    killer.start()
    ends = render_on_cluster(renderer(dataset, log), cluster.address, shards=6)
    killer.join()
    assert 6 <= killed_at[0] < len(KEYS)
    assert [(end.shard, end.code) for end in ends] == [(f"{i}/6", 0) for i in range(1, 7)]
    ended, begun = Counter(words(log, "end")), Counter(words(log, "begin"))
    assert sorted(ended) == KEYS
    # The object that was being rendered when its node died is begun again, and no other.
    assert set(ended.values()) == {1}
    assert sorted(begun.values())[-2] == 1
    assert max(begun.values()) <= 2
    files.compose_dataset(dataset)
    assert contents(dataset) == uninterrupted(tmp_path / "other" / "d", tmp_path / "other-log")


def test_a_renderer_ends_with_its_worker(cluster, tmp_path: Path) -> None:
    """Else it would go on beside the one that was started in its place.

    It stands behind a shell, as Blender often does: Ray itself ends no more than a task's child.
    """
    dataset, log = tmp_path / "d", tmp_path / "log"
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    command = ["sh", "-c", '"$@"; exit $?', "sh", *renderer(dataset, log)]
    run = threading.Thread(target=render_on_cluster, args=(command, cluster.address, 2))
    run.start()
    while not log.exists() or len(words(log, "begin")) < 3:
        time.sleep(0.05)
    at_work = {int(line.split()[2]) for line in log.read_text().splitlines()}
    cluster.remove_node(node, allow_graceful=False)
    time.sleep(2.0)
    assert sum(map(is_alive, at_work)) <= 1
    run.join()


def test_a_shard_that_fails_is_reported_and_stops_no_other(tmp_path: Path) -> None:
    code = (
        "import os, sys; shard = sys.argv[-1]; print('this is', shard, flush=True);"
        "sys.exit(3) if shard == '2/3' else None; os.kill(os.getpid(), 9) if shard == '3/3' else 0"
    )
    told: list[ShardEnd] = []
    ends = render_on_cluster(
        [sys.executable, "-c", code],
        "local",
        shards=3,
        workers=2,
        retries=1,
        report=lambda done, end: told.append(end),
    )
    assert [end.code for end in ends] == [0, 3, None]
    assert "this is 2/3" in ends[1].output
    assert "killed" in ends[2].output
    assert sorted(told, key=lambda end: end.shard) == ends


def test_no_cluster_at_the_address_is_refused() -> None:
    with pytest.raises(InputError, match=r"no Ray cluster at '127\.0\.0\.1:1'"):
        render_on_cluster(["true"], "127.0.0.1:1", shards=1)


def test_the_command_composes_the_dataset(tmp_path: Path) -> None:
    dataset, log = tmp_path / "d", tmp_path / "log"
    words = ["render", "--cluster", "local", "--workers", "2", "--shards", "4"]
    command = [sys.executable, "-m", "training", *words, "--dataset", str(dataset), "--"]
    done = subprocess.run(
        [*command, *renderer(dataset, log)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        f"{dataset}: 24 rendered, 0 failed",
        "4 of 4 shards done",
    ]
    assert sorted(files.read_dataset(dataset)["objects"]) == KEYS
