"""stub."""
def up() -> None:
    """Stub."""
