"""How processes share a batch, and what a single one does without company."""

import pytest
import torch
from torch import nn

from training import distributed
from training.distributed import SINGLE, Processes


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [0, 1, 2, 7, 8, 128, 129])
def test_every_row_belongs_to_exactly_one_process(rows: int, count: int) -> None:
    whole = torch.arange(rows)
    shares = [Processes(rank, count).share(whole) for rank in range(count)]
    assert torch.cat(shares).sort().values.tolist() == whole.tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [7, 8, 128, 129])
def test_shares_differ_by_one_row_at_most(rows: int, count: int) -> None:
    sizes = {len(Processes(rank, count).share(torch.arange(rows))) for rank in range(count)}
    assert max(sizes) - min(sizes) <= 1


def test_a_share_keeps_the_order_of_the_batch() -> None:
    assert Processes(1, 2).share(torch.tensor([5, 3, 9, 1, 4])).tolist() == [3, 1]


def test_pictures_and_labels_are_shared_alike() -> None:
    images, labels = torch.arange(10).view(5, 2), torch.arange(5)
    assert [Processes(1, 3).share(part).tolist() for part in (images, labels)] == [[[2, 3], [8, 9]], [1, 4]]


def test_only_the_first_process_speaks() -> None:
    assert [Processes(rank, 3).is_first for rank in range(3)] == [True, False, False]


def test_a_single_process_has_the_whole_sum_and_waits_for_nobody() -> None:
    values = torch.tensor([1.0, 2.0])
    assert SINGLE.total(values) is values
    SINGLE.wait()
    SINGLE.follow_first(nn.BatchNorm1d(2))


def test_without_torchrun_one_process_trains_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.joined(torch.device("cpu")) as (processes, device):
        assert (processes, device) == (SINGLE, torch.device("cpu"))
