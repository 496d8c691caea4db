"""The names that a generated file defines for others."""

from carrick_codegen.model import File

__all__ = ["EVENTS", "exported"]

EVENTS = "EVENTS"
"""Name of the list of a file's events."""


def exported(file: File) -> list[str]:
    """Return what a file's contract defines, in the order of the generated text."""
    names = [method.constant for service in file.services for method in service.methods]
    if file.events:
        names += [*(event.constant for event in file.events), EVENTS, file.publisher, file.blocking_publisher]
    for service in file.services:
        names += [service.client, service.blocking_client, service.servicer]
    for event in file.events:
        names += [f"on_{event.python_name}", f"apply_{event.python_name}"]
    return names
