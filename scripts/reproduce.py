"""A published table, computed again: `python scripts/reproduce.py table=rare_feature` (or another; see the error)."""

import sys

from salience.reproduction.tables import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
