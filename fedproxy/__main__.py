"""``python -m fedproxy`` is the ``fedproxy`` command."""

from fedproxy.cli.main import main

if __name__ == "__main__":
    main()
