"""Train, explain, measure: one run, or with -m a sweep. `python scripts/run.py --help` says what can be chosen."""

import sys

from salience.config import command

if __name__ == "__main__":
    sys.exit(command("salience.experiment.run"))
