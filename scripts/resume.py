"""Go on with a run, a sweep or a search: `python scripts/resume.py <folder|latest>`."""

import sys

from salience.resume import command

if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
