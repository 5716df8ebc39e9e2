"""The `fixproj` command: train, compare, solve, info. Try `fixproj --help`."""

import sys


def main() -> None:
    """Runs the command; its return code says how it went (see `fixproj --help`)."""
    try:
        import click  # noqa: F401
    except ImportError:
        sys.exit("Error: the command needs click: pip install 'fixproj[cli]'")
    from fixproj._cli import fixproj

    fixproj()


if __name__ == "__main__":
    main()
