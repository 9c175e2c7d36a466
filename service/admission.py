"""How many requests a worker answers at once: of everybody, and of one client."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Problem

RETRY_SECONDS = 1.0


class Admission:
    """Lets requests in while there is room; for the loop's thread alone."""

    def __init__(self, most: int, most_of_one: int | None) -> None:
        """`most` requests at once, and of each client `most_of_one`, where that is not None."""
        self._most, self._most_of_one = most, most_of_one
        self._inside = 0
        self._of_client: Counter[str | None] = Counter()

    @contextmanager
    def admit(self, client: str | None) -> Iterator[None]:
        """Hold a place for a request of that client. Raises Problem; of two reasons the client's own comes first."""
        if self._most_of_one is not None and self._of_client[client] >= self._most_of_one:
            detail = f"{self._most_of_one} requests of this client are being answered; try again"
            raise Problem("too_many_requests", detail, RETRY_SECONDS)
        if self._inside >= self._most:
            raise Problem("overloaded", f"{self._most} requests are being answered; try again", RETRY_SECONDS)
        self._inside += 1
        self._of_client[client] += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]
