"""The model card in Markdown, written from a checkpoint's own figures."""

from collections.abc import Mapping
from typing import Any

from training import ancestry
from training.checkpoint import Metadata
from training.recipe import Recipe, from_mapping
from training.reports import findings
from training.reports.progress import best_epoch, training_seconds


def model_card(name: str, metadata: Metadata, note: str = "") -> str:
    """What the model is, how it was made, on what, for how long, and what it scored; `note` follows the accuracies."""
    colours = "RGB" if metadata.channels == 3 else "grey"
    lines = [
        f"# {name}",
        "",
        f"An image classifier: network `{metadata.network}`{_arguments(metadata)}, {metadata.size}x{metadata.size} "
        f"{colours} pictures, {len(metadata.classes)} classes: {_shortened(metadata.classes)}.",
        "",
        *_accuracy(metadata),
        *([note, ""] if note else []),
        *(["![Who is taken for whom](confusion.png)", ""] if "confusion" in metadata.measures else []),
        *findings.sections(metadata),
        *_making(metadata),
        "## Limits",
        "",
        f"It knows these {len(metadata.classes)} classes and no others: every picture gets one of them"
        f"{_flagged(metadata)}. A picture is scaled to {metadata.size}x{metadata.size} pixels, so the object should "
        "fill most of it.",
        "",
    ]
    return "\n".join(lines)


def _arguments(metadata: Metadata) -> str:
    """What is not as the network's name alone would have it."""
    parts = [f"{name} {value}" for name, value in sorted(metadata.arguments.items())]
    return f" ({', '.join(parts)})" if parts else ""


def _accuracy(metadata: Metadata) -> list[str]:
    data, found = metadata.data, metadata.accuracy
    return [
        "## Accuracy",
        "",
        "| pictures | number | accuracy |",
        "|---|---|---|",
        f"| test, read once after the last epoch | {data['test']:,} | **{found['test']:.2%}** |",
        f"| validation, which chose the epoch | {data['validation']:,} | {found['validation']:.2%} |",
        "| training, augmented, while learning | "
        f"{data['fit']:,} | {best_epoch(metadata.history)['train_accuracy']:.2%} |",
        "",
    ]


def _making(metadata: Metadata) -> list[str]:
    data, recipe = metadata.data, from_mapping(metadata.recipe)
    stages = "; ".join(
        f"{_epochs(stage.epochs)}, batches of {stage.batch_size}, learning rate {stage.learning_rate}"
        for stage in recipe.stages
    )
    minutes = training_seconds(metadata) / 60
    return [
        "## How it was made",
        "",
        f"- Data: `{data['name']}`, {data['fit'] + data['validation']:,} training pictures: {data['fit']:,} to fit and "
        f"{data['validation']:,} held out to choose the epoch; normalised with mean {metadata.mean} and "
        f"standard deviation {metadata.std}.",
        f"- Recipe: {_optimisation(recipe)}; {stages}.",
        f"- Augmentation: {_augmentation(recipe)}.",
        f"- {_epochs(len(metadata.history))} in {minutes:.0f} minutes on {metadata.provenance['device']}; the weights "
        f"are those of epoch {best_epoch(metadata.history)['epoch']:.0f}. Seed {metadata.seed}.{_in_all(metadata)}",
        *_ancestors(metadata),
        f"- Code: commit {metadata.provenance['commit'] or 'unknown'}; "
        + ", ".join(f"{library} {version}" for library, version in metadata.provenance["versions"].items())
        + ".",
        "",
        "![Loss and accuracy by epoch](curves.png)",
        "",
    ]


def _in_all(metadata: Metadata) -> str:
    before = sum(run["epochs"] for run in ancestry.chain(metadata) if not ancestry.is_mention(run))
    if not before:
        return ""
    return f" Together with the runs whose weights it went on from, {before + len(metadata.history)} epochs."


def _flagged(metadata: Metadata) -> str:
    return "" if metadata.energy_threshold is None else ", and some that it cannot know are flagged as unknown"


def _ancestors(metadata: Metadata) -> list[str]:
    """Lines of the runs whose weights this one began with, the first one first, and of those that taught it."""
    return _related(metadata.provenance)


def _related(provenance: Mapping[str, Any], depth: int = 0) -> list[str]:
    lines = []
    for kind, told in (("chain", "Begun with"), ("mean_of", "Begun with the mean of"), ("teachers", "Taught by")):
        for number, run in enumerate(provenance.get(kind, [])):
            goes_on = kind == "chain" and number > 0
            lines.append(f"{'  ' * depth}- {'From there on to' if goes_on else told} {_run(run)}.")
            lines += _related(run, depth + 1)
    return lines


def _run(run: dict[str, Any]) -> str:
    weights = f"the weights {run['weights_sha256'][:12]}"
    if ancestry.is_mention(run):
        return f"{weights}, which are told of above"
    return (
        f"{weights} of another run: `{run['network']}`, {_epochs(run['epochs'])} on {run['data']['fit']:,} pictures of "
        f"`{run['data']['name']}`, {_settings(run['recipe'])}, seed {run['seed']}, validation accuracy "
        f"{run['accuracy']['validation']:.2%}, commit {run['commit'] or 'unknown'}"
    )


def _settings(recipe: Mapping[str, Any]) -> str:
    """What runs of a chain differ in; out of plain JSON, as a recipe of another version may have other fields."""
    parts = [f"learning rate {' and '.join(format(stage['learning_rate'], 'g') for stage in recipe['stages'])}"]
    parts += [f"CutMix in {recipe['cutmix']:.0%} of the pictures"] if recipe.get("cutmix") else []
    parts += [f"{recipe['distillation']:.0%} of the loss from teachers"] if recipe.get("distillation") else []
    return ", ".join(parts)


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _optimisation(recipe: Recipe) -> str:
    names = {"sgd": "SGD", "nesterov": "SGD with Nesterov momentum", "adam": "Adam", "adamw": "AdamW", "muon": "Muon"}
    parts = [
        f"{names[recipe.optimizer]}, momentum {recipe.momentum}",
        f"{recipe.schedule} schedule",
        f"weight decay {recipe.weight_decay}",
        *([f"biases and norms at {recipe.bias_rate:g} times the rate"] if recipe.bias_rate != 1 else []),
        *([f"first convolution {recipe.first_convolution}"] if recipe.first_convolution != "random" else []),
        f"label smoothing {recipe.label_smoothing}",
        *([_distillation(recipe)] if recipe.distillation else []),
        *([f"weights averaged with decay {recipe.ema}"] if recipe.ema else []),
        *(["weights stored as float16"] if recipe.stored_as == "float16" else []),
        *(["a softmax before the loss's own"] if recipe.softmax_in_network else []),
    ]
    return ", ".join(parts)


def _distillation(recipe: Recipe) -> str:
    return f"{recipe.distillation:.0%} of the loss from teachers, at temperature {recipe.distillation_temperature:g}"


def _augmentation(recipe: Recipe) -> str:
    parts = []
    if recipe.alternate_flip:
        parts.append("horizontal flip in every second epoch")
    elif recipe.flip:
        parts.append("horizontal flip")
    if recipe.crop_padding:
        parts.append(f"shift by up to {recipe.crop_padding} pixels with reflected borders")
    if recipe.cutout:
        parts.append(f"cutout of {recipe.cutout}x{recipe.cutout} pixels")
    if recipe.cutmix:
        parts.append(f"CutMix in {recipe.cutmix:.0%} of the pictures")
    for name in ("brightness", "contrast", "saturation", "hue", "fancy_pca"):
        if amount := getattr(recipe, name):
            parts.append(f"{name.replace('_', ' ')} {amount}")
    return ", ".join(parts) or "none"


def _shortened(classes: list[str], most: int = 20) -> str:
    more = f" and {len(classes) - most} more" if len(classes) > most else ""
    return ", ".join(classes[:most]) + more
