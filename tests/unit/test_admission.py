"""How many requests are answered at once, of all clients and of each."""

from contextlib import ExitStack

import pytest

from service.batching.admission import Admission, Overloaded, TooManyOfOneClient


def reasons(admission: Admission, *clients: str | None) -> list[str]:
    """What becomes of requests of these clients that come one after another and stay."""

    def ask(client: str | None) -> str:
        try:
            inside.enter_context(admission.admit(client))
        except TooManyOfOneClient:
            return "its share"
        except Overloaded:
            return "full"
        return "in"

    with ExitStack() as inside:
        return [ask(client) for client in clients]


def test_one_client_may_have_all_places_where_nothing_else_is_said() -> None:
    assert reasons(Admission(2, None, 9), "a", "a", "a", "b") == ["in", "in", "full", "full"]


def test_a_client_with_its_share_leaves_the_rest_to_others() -> None:
    assert reasons(Admission(3, 1, 9), "a", "a", "b", "b", "c") == ["in", "its share"] * 2 + ["in"]


def test_who_has_its_share_of_a_full_server_is_told_of_its_share() -> None:
    assert reasons(Admission(1, 1, 9), "a", "a", "b") == ["in", "its share", "full"]


def test_clients_without_an_address_are_one_client() -> None:
    assert reasons(Admission(3, 1, 9), None, None) == ["in", "its share"]


def test_a_request_that_ends_gives_its_place_back_however_it_ends() -> None:
    admission = Admission(2, 1, 9)
    for _ in range(3):
        with pytest.raises(KeyError), admission.admit("a"):
            raise KeyError
    assert reasons(admission, "a", "b") == ["in", "in"]


def test_requests_that_are_still_arriving_take_no_place_of_those_that_are_answered() -> None:
    admission = Admission(3, None, 1)
    with admission.admit("a"), admission.admit("b"), admission.admit("c"):
        for _ in range(2):
            with admission.answering(), pytest.raises(Overloaded, match=r"^1 requests are"), admission.answering():
                raise AssertionError("a second one was let in")
