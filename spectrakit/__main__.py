"""`python -m spectrakit`: the command line, of just this Python's installation."""

from spectrakit.cli import main

if __name__ == "__main__":
    main()
