"""``python -m sltdeploy`` is the command ``sltdeploy``."""

from sltdeploy.cli import main

if __name__ == "__main__":
    main()
