"""Killed before any one of its steps, storing a version or choosing the latest leaves a store that is whole.

A child process is killed (SIGKILL) before the first thing it does to a file, another one before the second, and so on
until one comes to its end. After each of them BentoML must list the store, every version must be whole, and
what a plain `bentoml serve` loads must be what it was, or the new version, complete.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from export import bundle, store, versions
from tests.conftest import ROOT
from tests.unit.bundles import little

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")

# One process forks all children, because importing BentoML takes longer than storing a bundle.
DRIVER = """
import json, os, shutil, signal, sys
from pathlib import Path

import bentoml
from export import bundle, store

home, action, argument = Path(os.environ["BENTOML_HOME"]), sys.argv[1], sys.argv[2]
STEPS = {"write", "__exit__", "fsync", "truncate", "mkdir", "rmdir", "rename", "replace", "unlink", "link", "sendfile"}
# These only read, or fill a buffer.
UNINTERESTING = ("emitter.py", "zipfile.py", "reading.py", "npyio_impl.py")


def child(limit):
    steps = 0

    def count(frame, event, function):
        nonlocal steps
        if event == "c_call" and function.__name__ in STEPS and not frame.f_code.co_filename.endswith(UNINTERESTING):
            steps += 1
            if steps == limit:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    if action == "put":
        store.put(bundle.read(Path(argument)))
    else:
        store.use(argument)
    os._exit(0)


def state():
    tags = []
    for model in bentoml.models.list():
        try:
            bundle.read(Path(model.path))
            tags.append(str(model.tag))
        except bundle.BundleError:
            tags.append("damaged")
    return [sorted(tags, key=lambda tag: (tag != "damaged", tag)), str(bentoml.models.get("alexnet").tag)]


shutil.copytree(home / "models", home / "pristine")
seen, limit, status = [state()], 0, 1
while status:
    limit += 1
    shutil.rmtree(home / "models")
    shutil.copytree(home / "pristine", home / "models")
    pid = os.fork() or child(limit)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), f"step {limit}: status {status}"
    seen.append(state())
print(json.dumps(seen))
"""


def states(home: Path, action: str, argument: str) -> list[Any]:
    """The store's tags and its latest: before, and after a child that was killed at step 1, 2, 3 and so on."""
    environment = {**os.environ, "BENTOML_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", DRIVER, action, argument]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.fixture
def chosen(own_store: Path, tmp_path: Path) -> str:
    """The older one of two versions in a store, which was made the latest."""
    assert own_store.is_dir()
    older, _ = (store.put(little(tmp_path / str(share), accuracy={"test": share})) for share in (0.5, 0.6))
    store.use(older)
    return older


def tags() -> list[str]:
    return sorted(version.tag for version in versions.stored())


def test_storing_leaves_the_store_as_it_was_or_with_the_new_version_whole(
    chosen: str, own_store: Path, tmp_path: Path
) -> None:
    newer, there = little(tmp_path / "newer"), tags()
    tag = f"alexnet:{newer.version}"
    found = states(own_store.parent, "put", str(newer.directory))
    before, stored, after = [there, chosen], [sorted([*there, tag]), chosen], [sorted([*there, tag]), tag]
    assert len(found) > 50
    assert found == sorted(found, key=[before, stored, after].index)
    assert found[-1] == after


def test_a_damaged_copy_is_replaced_and_nothing_else_is_lost(chosen: str, own_store: Path, tmp_path: Path) -> None:
    newer, there = little(tmp_path / "newer"), tags()
    tag = store.put(newer)
    store.use(chosen)
    (store.place(tag) / bundle.WEIGHTS).write_bytes(b"damaged")
    found = states(own_store.parent, "put", str(newer.directory))
    gone, stored, after = [there, chosen], [sorted([*there, tag]), chosen], [sorted([*there, tag]), tag]
    damaged = [["damaged", *there], chosen]
    assert found == sorted(found, key=[damaged, gone, stored, after].index)
    assert found[-1] == after


def test_choosing_the_latest_leaves_the_one_or_the_other(chosen: str, own_store: Path) -> None:
    there = tags()
    (other,) = set(there) - {chosen}
    found = states(own_store.parent, "use", other)
    assert found == sorted(found, key=[[there, chosen], [there, other]].index)
    assert (found[0], found[-1]) == ([there, chosen], [there, other])
