"""Files classified by the workers of a Ray cluster: each has an engine and takes batches of files, or parts of Parquet.

What goes to a worker is the names of files, and what comes back are rows: pictures and model are read where the worker
is, from the same places. A worker that dies is begun again, and what it had in work is done again.
"""

import json
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import groupby, islice
from pathlib import Path

from export import bundle as bundles
from export.bundle import Bundle
from service.engines.engine import EngineError
from service.offline import runs
from service.offline.job import Job, begun
from service.offline.journal import Row
from service.offline.sources import Share, SourceError, shares, shown, sources
from service.settings import Settings

# Calls of the engine for which a worker gets the files at once: it decodes those of the next while one runs.
CALLS = 4
REFUSALS = (runs.OfflineError, SourceError, EngineError, bundles.BundleError)
FAILED = "failed"  # in place of all rows

Begin = Callable[[], AbstractContextManager[Job]]


class RayError(Exception):
    """Ray is not there, or its workers failed; the message says why."""


@dataclass(frozen=True)
class Workers:
    """How many there are, what each has of the cluster, and how it begins."""

    number: int
    cpus: float
    gpus: float
    files: int  # that a worker gets at once
    begin: Begin


class Classifier:
    """A worker: has its engine for as long as it lives."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    @cached_property
    def _job(self) -> Job:
        return ExitStack().enter_context(self._begin())

    def __call__(self, batch: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
        """Rows as JSON for the shares in `item`, also as JSON; or one that tells why there are none."""
        given = (share for text in batch["item"] for share in _shares_of(text))
        try:
            found = [row for rows in runs.classified(sources(given), self._job) for row in rows]
        except REFUSALS as error:  # which Ray would bury in a traceback
            found = [{FAILED: str(error)}]
        return {"row": list(map(json.dumps, found))}


@contextmanager
def cluster(address: str, bundle: Bundle, chosen: Settings, top_k: int) -> Iterator[Workers]:
    """Connect to Ray at `address`, or begin one on this machine where it is "local". Raises RayError."""
    if find_spec("ray") is None:
        raise RayError("--ray needs Ray: install the extra 'ray'")
    _require_listener(address)
    # Read once, when Ray is imported: it tells its makers nothing.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    try:
        ray.init(address, include_dashboard=False if address == "local" else None, logging_level="warning")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise RayError(f"there is no Ray at {address} ({str(error).splitlines()[0]})") from error
    try:
        yield workers_of(ray.cluster_resources(), bundle.directory, chosen, top_k)
    finally:
        ray.shutdown()


def workers_of(resources: Mapping[str, float], directory: Path, chosen: Settings, top_k: int) -> Workers:
    """One worker for each GPU of the cluster, or where there is none for each core, or as many as the settings say."""
    gpus = int(resources.get("GPU", 0)) if chosen.engine in ("auto", "onnx-cuda", "torch-cuda") else 0
    cpus = int(resources.get("CPU", 1))
    number = chosen.workers or gpus or cpus
    # Of several, each has a core and one thread, as the workers of a server.
    begin = partial(_begun, directory.resolve(), replace(chosen, workers=number), top_k)
    share = max(1, cpus // number) if not gpus else 1
    return Workers(number, share, min(1.0, gpus / number), CALLS * chosen.max_batch, begin)


def there(named: Sequence[Path], done: Set[str], workers: Workers) -> Iterator[list[Row]]:
    """The way that is a cluster: answers in the order of the files. Raises PathError, SourceError and RayError."""
    import ray.data
    from ray.exceptions import RayError as Failure

    items = list(_items((share for share in shares(named) if shown(share.path) not in done), workers.files))
    if not items:
        return
    # It tells of every step; our own bar says how far it is.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    answered = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Classifier,
        fn_constructor_args=(workers.begin,),
        batch_size=1,
        batch_format="numpy",
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
        compute=ray.data.ActorPoolStrategy(size=min(workers.number, len(items))),
    )
    try:
        for batch in answered.iter_batches(batch_size=None, batch_format="numpy"):
            yield [row for row in _rows(batch["row"]) if row["filename"] not in done]
    except Failure as error:
        raise RayError(f"the workers failed ({type(error).__name__}: {error})") from error


def _require_listener(address: str) -> None:
    """Raise RayError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise RayError(f"there is no Ray at {address} ({error})") from error


def _rows(texts: Iterable[str]) -> Iterator[Row]:
    for row in map(json.loads, texts):
        if FAILED in row:
            raise RayError(row[FAILED])
        yield row


def _begun(directory: Path, chosen: Settings, top_k: int) -> AbstractContextManager[Job]:
    return begun(bundles.read(directory), chosen, top_k)


def _items(given: Iterable[Share], most: int) -> Iterator[str]:
    """What a worker gets at once, as JSON, which keeps names that are no text: `most` files, or a group of Parquet."""
    for is_file, run in groupby(given, key=lambda share: share.group is None):
        while batch := list(islice(run, most if is_file else 1)):
            yield json.dumps([(str(path), group) for path, group in batch])


def _shares_of(text: str) -> Iterator[Share]:
    return (Share(Path(path), group) for path, group in json.loads(text))
