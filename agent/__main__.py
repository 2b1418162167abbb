"""`python -m agent` is the same command as `spiritlevel`."""

from agent.cli import main

if __name__ == "__main__":
    main()
