"""The loads that servers are put under, by name."""

from dataclasses import dataclass

CLIENTS = (1, 8, 32, 128)
PICTURES = (1, 32)
# Of what a server carried in a closed loop of the same turn.
SHARES = (0.5, 0.8, 2.0)


@dataclass(frozen=True)
class Load:
    """`clients` at a time in a closed loop, or, where there are none, `share` of the server's peak in an open one."""

    pictures: int  # in a request
    clients: int = 0
    share: float = 0.0

    @property
    def name(self) -> str:
        """E.g. 32x1 for 32 clients with one picture a request, and open-0.8 for 80 % of the peak."""
        return f"{self.clients}x{self.pictures}" if self.clients else f"open-{self.share:g}"


LOADS = {
    load.name: load
    for load in (
        *(Load(pictures, clients=clients) for pictures in PICTURES for clients in CLIENTS),
        *(Load(1, share=share) for share in SHARES),
    )
}
# Those that are compared with the ceiling and with the peers.
PEER_LOAD, CEILING_LOAD, ALONE = "32x1", "8x32", "1x1"
# One picture a request, in a closed loop: what the rates of open loops are shares of.
PEAK_LOADS = tuple(name for name, load in LOADS.items() if load.clients and load.pictures == 1)
