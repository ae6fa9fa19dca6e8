"""`python -m stillsafe`."""

from stillsafe.cli import main

if __name__ == "__main__":
    main()
