"""Many runs: one table, one verdict, one page. `python scripts/compare.py [folders or globs ...] [key=value ...]`."""

import sys

from salience.comparisons.command import command

if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
