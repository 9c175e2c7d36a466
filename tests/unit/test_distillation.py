"""Learning from a teacher: the loss, whom it moves, which teachers are refused, and what a run tells of its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.others import brighter, grey, renamed, smaller
from tests.unit.runs import METADATA, interrupt_at_batch, one_thread, pictures
from tests.unit.trainees import CPU, PLAIN, numbers, run_epochs, split
from training import ancestry, checkpoint, distillation, loop, networks, run_folder, trainee
from training.checkpoint import Checkpoint
from training.data.dataset import Dataset
from training.epoch import TrainingError
from training.loop import Extras, Result
from training.recipe import Recipe, RecipeError, Stage
from training.resume import ResumeError
from training.trainee import Trainee

RECIPE = Recipe(
    network="simple-cnn", stages=(Stage(1, 48, 0.01),), optimizer="sgd", schedule="constant", train_images=96
)
TAUGHT = replace(RECIPE, distillation=0.5)


def test_equal_answers_cost_nothing() -> None:
    logits = torch.randn(8, 5)
    assert distillation.loss(logits, logits + 3, 2.0) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_loss_is_the_divergence_from_the_teacher_at_the_temperature(temperature: float) -> None:
    ours, wanted = torch.tensor([[0.25, 0.75], [0.5, 0.5]]), torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    divergence = (wanted * (wanted / ours).log()).sum(dim=1).mean()
    found = distillation.loss(ours.log() * temperature, wanted.log() * temperature, temperature)
    assert found == pytest.approx(float(divergence) * temperature**2, rel=1e-5)


def test_the_gradients_are_of_the_same_size_at_any_high_temperature() -> None:
    def gradient(temperature: float) -> torch.Tensor:
        logits = torch.linspace(-1, 1, 6).view(2, 3).requires_grad_()
        distillation.loss(logits, torch.tensor([[1.0, 0, 0], [0, 1, 0]]), temperature).backward()
        assert logits.grad is not None
        return logits.grad

    torch.testing.assert_close(gradient(100), gradient(400), rtol=0.05, atol=1e-4)


def of_seed(seed: int) -> Checkpoint:
    """A network that the learners of `taught` can learn from."""
    torch.manual_seed(seed)
    metadata = replace(METADATA, network="simple-cnn", size=4)
    return Checkpoint(metadata, dict(networks.build("simple-cnn", classes=3, size=4).state_dict()))


def taught(teacher: Checkpoint | None, **changes: Any) -> Trainee:
    recipe = PLAIN.changed({"distillation": 1.0 if teacher else 0.0, **changes})
    metadata = replace(METADATA, network=recipe.network, size=4)
    return trainee.build(recipe, metadata, split(30).images, CPU, teachers=[teacher] if teacher else [])


def test_what_is_learned_from_a_teacher_alone_does_not_depend_on_the_labels() -> None:
    fit = split(24)
    others = replace(fit, labels=(fit.labels + 1) % 3)
    first, second = taught(of_seed(1)), taught(of_seed(1))
    run_epochs(first, 1, fit)
    run_epochs(second, 1, others)
    torch.testing.assert_close(numbers(first.network), numbers(second.network), rtol=0, atol=0)


def test_what_is_learned_from_both_depends_on_both() -> None:
    fit = split(24)
    others = replace(fit, labels=(fit.labels + 1) % 3)
    learned = []
    for teacher, pictures_of in ((1, fit), (1, others), (2, fit)):
        learner = taught(of_seed(teacher), distillation=0.5)
        run_epochs(learner, 1, pictures_of)
        learned.append(numbers(learner.network)["1.3.weight"])
    assert not torch.equal(learned[0], learned[1])
    assert not torch.equal(learned[0], learned[2])


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_learner_comes_to_answer_as_its_teacher_does(precision: str) -> None:
    fit, teacher = split(24), of_seed(1)
    learner = taught(teacher, stages=(Stage(40, 8, 0.1),), precision=precision)
    wanted = teacher.build_classifier()(fit.images)[0].argmax(dim=1)
    assert not torch.equal(wanted, fit.labels)
    run_epochs(learner, 40, fit)
    learner.network.eval()
    assert torch.equal(learner.network(learner.preprocess(fit.images)).argmax(dim=1), wanted)


def test_several_teachers_give_the_mean_of_their_logits() -> None:
    sources = [of_seed(1), of_seed(2)]
    images = split(6).images
    found = distillation.teachers(sources, CPU, torch.contiguous_format)(images)
    first, second = (source.build_classifier()(images)[0] for source in sources)
    torch.testing.assert_close(found, (first + second) / 2)


def test_the_temperature_is_the_recipe_s() -> None:
    learned = []
    for temperature in (1.0, 4.0):
        learner = taught(of_seed(1), distillation_temperature=temperature)
        run_epochs(learner, 1, split(24))
        learned.append(numbers(learner.network)["1.3.weight"])
    assert (learned[0] - learned[1]).abs().max() > 1e-4


def test_a_teacher_answers_as_it_would_when_served_and_learns_nothing() -> None:
    """With batch norm an answer in training would depend on the other pictures, and change the statistics."""
    torch.manual_seed(1)
    metadata = replace(METADATA, network="compact")
    source = Checkpoint(metadata, dict(networks.build("compact", classes=3, size=20).state_dict()))
    asked = distillation.teachers([source], CPU, torch.contiguous_format)
    images = pictures().train.images[:8]
    together = asked(images)
    torch.testing.assert_close(asked(images[:1]), together[:1])
    torch.testing.assert_close(together, source.build_classifier()(images)[0])
    assert not together.requires_grad


@one_thread()
def train(
    run: Path,
    teacher: Result | None = None,
    recipe: Recipe = TAUGHT,
    start: Result | None = None,
    dataset: Dataset | None = None,
    **options: Any,
) -> Result:
    first, second = (None if result is None else checkpoint.load(result.path) for result in (start, teacher))
    extras = Extras(starts=(first,) if first else (), teachers=(second,) if second else ())
    return loop.train(recipe, dataset or pictures(), run, on=CPU, extras=extras, **options)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A finished run, of another network than its learners'. Tests only read it."""
    return train(tmp_path_factory.mktemp("runs") / "teacher", recipe=replace(RECIPE, network="compact"))


@pytest.fixture(scope="module")
def learner(teacher: Result, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A finished run that learned from it. Tests only read it."""
    return train(tmp_path_factory.mktemp("runs") / "learner", teacher)


def test_a_run_tells_who_taught_it(teacher: Result, learner: Result) -> None:
    (told,) = learner.metadata.provenance["teachers"]
    assert (told["network"], told["weights_sha256"]) == ("compact", teacher.metadata.weights_sha256)
    assert told["accuracy"] == teacher.metadata.accuracy


def test_the_card_names_the_teacher_and_its_share(teacher: Result, learner: Result) -> None:
    card = (learner.path.parent / "card.md").read_text()
    assert (
        f"- Taught by the weights {teacher.metadata.weights_sha256[:12]} of another run: `compact`, 1 epoch on" in card
    )
    assert "50% of the loss from teachers, at temperature 2" in card


def test_a_run_that_goes_on_from_a_taught_one_tells_of_that_teacher_too(
    teacher: Result, learner: Result, tmp_path: Path
) -> None:
    continued = train(tmp_path / "next", recipe=RECIPE, start=learner)
    (run,) = continued.metadata.provenance["chain"]
    assert [each["weights_sha256"] for each in run["teachers"]] == [teacher.metadata.weights_sha256]
    lines = (tmp_path / "next" / "card.md").read_text().splitlines()
    told = [line.split(" the weights ")[0] for line in lines if "of another run" in line]
    assert told == ["- Begun with", "  - Taught by"]


def test_the_teacher_s_own_chain_is_told(teacher: Result, tmp_path: Path) -> None:
    recipe = replace(RECIPE, network="compact")
    grown = train(tmp_path / "grown", recipe=recipe, start=teacher)
    run = train(tmp_path / "run", grown)
    (told,) = run.metadata.provenance["teachers"]
    assert [each["weights_sha256"] for each in told["chain"]] == [teacher.metadata.weights_sha256]
    lines = (tmp_path / "run" / "card.md").read_text().splitlines()
    begun = [line.split(" the weights ")[0] for line in lines if "of another run" in line]
    assert begun == ["- Taught by", "  - Begun with"]


def test_and_so_is_the_teacher_s_own_teacher(teacher: Result, learner: Result, tmp_path: Path) -> None:
    train(tmp_path / "run", learner)
    lines = (tmp_path / "run" / "card.md").read_text().splitlines()
    told = [line.split(" of another run")[0] for line in lines if "of another run" in line]
    digests = [result.metadata.weights_sha256[:12] for result in (learner, teacher)]
    assert told == [f"- Taught by the weights {digests[0]}", f"  - Taught by the weights {digests[1]}"]


def test_the_order_of_the_teachers_is_no_other_run(teacher: Result, learner: Result) -> None:
    sources = [checkpoint.load(result.path) for result in (teacher, learner)]
    first, second = (
        run_folder.identity(ancestry.taught(learner.metadata, order)) for order in (sources, sources[::-1])
    )
    assert first == second


def test_a_softmax_in_the_network_leaves_no_logits_to_compare() -> None:
    with pytest.raises(RecipeError, match="softmax_in_network must be false"):
        replace(TAUGHT, softmax_in_network=True)


def test_a_recipe_with_distillation_needs_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="learns from a teacher: name its checkpoint with --teacher"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_nobody_would_listen_to_is_refused(teacher: Result, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"learns from no teacher: add, say, --set distillation=0\.5"):
        train(tmp_path / "run", teacher, RECIPE)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("change", "name"), [(renamed, "classes"), (smaller, "size"), (grey, "channels")])
def test_a_teacher_of_other_pictures_is_refused_by_name(
    change: Callable[[Dataset], Dataset], name: str, teacher: Result, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=f"the teacher is for another {name}, .*; this run has "):
        train(tmp_path / "run", teacher, dataset=change(pictures()))
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_knows_the_pictures_held_out_is_refused(teacher: Result, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="to learn from were fitted to these pictures of synthetic in another"):
        train(tmp_path / "run", teacher, seed=1)


def test_so_are_weights_whose_teacher_knows_them(teacher: Result, tmp_path: Path) -> None:
    """The weights themselves know other pictures: only through their teacher have they to do with these."""
    learner = train(tmp_path / "learner", teacher, dataset=brighter(), seed=1)
    with pytest.raises(TrainingError, match="these pictures of synthetic in another split, with seed 0"):
        train(tmp_path / "run", recipe=RECIPE, start=learner, seed=1)


def test_so_is_a_teacher_that_began_with_weights_that_know_them(teacher: Result, tmp_path: Path) -> None:
    recipe = replace(RECIPE, network="compact")
    grown = train(tmp_path / "grown", recipe=recipe, start=teacher, dataset=brighter(), seed=1)
    with pytest.raises(TrainingError, match="these pictures of synthetic in another split, with seed 0"):
        train(tmp_path / "run", grown, seed=1)


def test_a_stopped_run_does_not_go_on_with_another_teacher(
    teacher: Result, learner: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at_batch(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", teacher, TAUGHT.with_epochs(2))
    with pytest.raises(ResumeError, match="with other settings: taught_by"):
        train(tmp_path / "run", learner, TAUGHT.with_epochs(2), go_on=True)
    assert len(train(tmp_path / "run", teacher, TAUGHT.with_epochs(2), go_on=True).metadata.history) == 2
