"""``python -m promptport``: the command line, where no script is on the path."""

from promptport.cli import main

if __name__ == "__main__":
    main()
