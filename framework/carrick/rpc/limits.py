"""How large metadata may be, in gRPC's words."""

from carrick.context import Metadata

__all__ = ["metadata_limit", "metadata_size"]

_ENTRY = 32  # RFC 9113, 6.5.2: what an entry counts beside its name and value


def metadata_limit(most: int) -> tuple[tuple[str, int], ...]:
    """Return gRPC's options for metadata of at most so many bytes.

    With its soft limit below its absolute one, as by default, gRPC refuses calls between the two at random.
    """
    return ("grpc.max_metadata_size", most), ("grpc.absolute_max_metadata_size", most)


def metadata_size(metadata: Metadata) -> int:
    """Return how much of a limit some metadata takes."""
    return sum(len(name) + len(value) + _ENTRY for name, value in metadata)
