"""Starting from another run's weights, or learning from them: what must agree, and what the new checkpoint tells."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from training.checkpoint import Checkpoint, Metadata
from training.epoch import TrainingError

# Where a run tells of others: whose weights it began with, whose mean that was, and who taught it.
KINDS = ("chain", "mean_of", "teachers")


def chain(metadata: Metadata) -> list[dict[str, Any]]:
    """The runs whose weights a run began with, the first one first."""
    return list(metadata.provenance.get("chain", []))


def teachers(metadata: Metadata) -> list[dict[str, Any]]:
    """The runs that taught a run, each with the chain of its own; none where it learned from labels alone."""
    return list(metadata.provenance.get("teachers", []))


def averaged(metadata: Metadata) -> list[dict[str, Any]]:
    """The runs whose mean weights a run began with, each with the chain of its own; none where it began with one's."""
    return list(metadata.provenance.get("mean_of", []))


def continued(metadata: Metadata, starts: Sequence[Checkpoint]) -> Metadata:
    """`metadata` of a run that begins with the weights of `starts`, or their mean: normalised as those are used to.

    Its provenance tells the runs before it. Raises TrainingError or CheckpointError where the weights do not fit, and
    TrainingError where the same data set was split in another way: then pictures that the weights were fitted to would
    be selected on.
    """
    first = starts[0].metadata
    for start in starts:
        _refuse_other_kind(start.metadata, metadata)
        if (start.metadata.mean, start.metadata.std) != (first.mean, first.std):
            raise TrainingError("weights that are used to pictures normalised in different ways have no mean of use")
        Checkpoint(metadata, start.weights).build_network()
    if len(starts) == 1:
        told = {"chain": _lineage(first, metadata)}
    else:
        told = {"mean_of": [_nested(start.metadata, metadata) for start in starts]}
    return replace(metadata, mean=first.mean, std=first.std, provenance=_told_once(metadata.provenance | told))


def taught(metadata: Metadata, sources: Sequence[Checkpoint]) -> Metadata:
    """`metadata` of a run that learns from `sources`, networks for the same pictures; raises TrainingError."""
    for source in (each.metadata for each in sources):
        for name in ("classes", "size", "channels"):
            if getattr(source, name) != getattr(metadata, name):
                found, wanted = getattr(source, name), getattr(metadata, name)
                raise TrainingError(f"the teacher is for another {name}, {found}; this run has {wanted}")
    told = [_nested(source.metadata, metadata) for source in sources]
    return replace(metadata, provenance=_told_once(metadata.provenance | {"teachers": told}))


def _refuse_other_kind(source: Metadata, metadata: Metadata) -> None:
    for name in ("network", "arguments", "classes", "size", "channels"):
        if getattr(source, name) != getattr(metadata, name):
            found, wanted = getattr(source, name), getattr(metadata, name)
            raise TrainingError(f"the weights to begin with are for another {name}, {found}; this run has {wanted}")


def _nested(source: Metadata, metadata: Metadata) -> dict[str, Any]:
    """`source` with the runs before it inside."""
    *before, own = _lineage(source, metadata)
    return own | ({"chain": before} if before else {})


def _lineage(source: Metadata, metadata: Metadata) -> list[dict[str, Any]]:
    """The runs before `source` and itself, all of which `metadata`'s run may have as ancestors."""
    told = [*chain(source), _told(source)]
    for known in _family({"chain": told}):
        _refuse_other_split(known, metadata)
    return told


def _family(provenance: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The runs before a run, wherever they are told in full."""
    for kind in KINDS:
        for run in provenance.get(kind, []):
            if not is_mention(run):
                yield run
            yield from _family(run)


def is_mention(run: dict[str, Any]) -> bool:
    """Whether a run is named by its weights alone, as it is told elsewhere in the same provenance."""
    return "data" not in run


def _told_once(provenance: dict[str, Any]) -> dict[str, Any]:
    """The same with each run told where it comes first, and mentioned where it comes again: families share many."""
    # The first telling counts where there are several.
    known = {run["weights_sha256"]: run for run in reversed(list(_family(provenance)))}
    told: set[str] = set()

    def shortened(run: dict[str, Any]) -> dict[str, Any]:
        name = run["weights_sha256"]
        if name in told:
            return {"weights_sha256": name}
        told.add(name)
        if name not in known:
            raise TrainingError(f"the weights' provenance mentions a run, {name[:12]}, that it tells nowhere")
        return _with_each(known[name], shortened)

    return _with_each(provenance, shortened)


def _with_each(run: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    return run | {kind: [change(each) for each in run[kind]] for kind in KINDS if kind in run}


def _refuse_other_split(run: dict[str, Any], metadata: Metadata) -> None:
    """Pictures are compared by their digests, or by the data set's name where an older checkpoint has none."""
    before, now = run["data"], metadata.data
    if "pictures_sha256" in before:
        same_pictures = before["pictures_sha256"] == now["pictures_sha256"]
        same_split = before["held_sha256"] == now["held_sha256"]
    else:
        same_pictures = before["name"] == now["name"]
        same_split = (run["seed"], before["validation"]) == (metadata.seed, now["validation"])
    if same_pictures and not same_split:
        raise TrainingError(
            f"the weights to begin with or to learn from were fitted to these pictures of {now['name']} in another "
            f"split, with seed {run['seed']} and {before['validation']:,} held out; this run has seed {metadata.seed} "
            f"and {now['validation']:,}, which they may know"
        )


def _told(source: Metadata) -> dict[str, Any]:
    return {
        "network": source.network,
        "recipe": source.recipe,
        "seed": source.seed,
        "data": source.data,
        "epochs": len(source.history),
        "accuracy": source.accuracy,
        "commit": source.provenance.get("commit"),
        "weights_sha256": source.weights_sha256,
        **{name: source.provenance[name] for name in ("teachers", "mean_of") if name in source.provenance},
    }
