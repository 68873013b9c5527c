"""``python -m distsim``: the same as the command ``distsim``."""

from __future__ import annotations

import sys

from distsim.cli import main

if __name__ == "__main__":
    sys.exit(main())
