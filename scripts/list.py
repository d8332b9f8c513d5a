"""What can be chosen, one line each: `python scripts/list.py [data|models|methods|metrics|matrix|...]`."""

import sys

from salience.listing import show_options

if __name__ == "__main__":
    sys.exit(show_options(sys.argv[1:]))
