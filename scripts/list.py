"""What can be chosen, one line each: `python scripts/list.py [data|models|methods|metrics|matrix|...]`."""

import os
import sys

from salience.listing import show_options

if __name__ == "__main__":
    try:
        sys.exit(show_options(sys.argv[1:]))
    except BrokenPipeError:  # `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
