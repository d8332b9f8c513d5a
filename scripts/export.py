"""One zip of a run to give away, its network inside: `python scripts/export.py <run|latest> [to=FILE.zip]`."""

import sys

from salience.sharing.export import command

if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
