"""``python -m accord``: the command line without the script on the path."""

from accord.cli import main

if __name__ == "__main__":
    main()
