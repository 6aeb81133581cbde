"""``python -m core``: everything the web app does, scriptable."""

import sys

from core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
