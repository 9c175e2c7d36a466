"""How many requests a worker answers at once: of everybody, and of one client."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class TooManyOfOneClient(Exception):
    """A client has as many requests here as one may; one that is answered makes room for the next."""


class Overloaded(Exception):
    """There are as many requests as may be here; one that is answered makes room for the next."""


class Admission:
    """Lets requests in while there is room; for the loop's thread alone."""

    def __init__(self, most: int, most_of_one: int | None, most_answering: int) -> None:
        """`most` requests at once, of each client `most_of_one`, where that is not None; `most_answering` arrived."""
        self._most, self._most_of_one, self._most_answering = most, most_of_one, most_answering
        self._inside = self._answering = 0
        self._of_client: Counter[str | None] = Counter()

    @contextmanager
    def admit(self, client: str | None) -> Iterator[None]:
        """Hold a place for a request of that client.

        Raises TooManyOfOneClient and Overloaded; of two reasons the client's own comes first.
        """
        if self._most_of_one is not None and self._of_client[client] >= self._most_of_one:
            raise TooManyOfOneClient(f"{self._most_of_one} requests of this client are being answered; try again")
        if self._inside >= self._most:
            raise Overloaded(f"{self._most} requests are here already; try again")
        self._refuse_waiting()  # now, as its body would be read for nothing
        self._inside += 1
        self._of_client[client] += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Hold a place for a request that has arrived: one more would wait for all of these. Raises Overloaded."""
        self._refuse_waiting()
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1

    def _refuse_waiting(self) -> None:
        if self._answering >= self._most_answering:
            raise Overloaded(f"{self._answering} requests are being answered; try again")
