"""stub."""


def init() -> None:
    """Stub."""
