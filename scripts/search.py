"""Find settings: `python scripts/search.py 'training.learning_rate=log(1e-4,1e-1)' objectives=[accuracy]`."""

import sys

from salience.sweeps.search import command

if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
