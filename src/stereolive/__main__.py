"""``python -m stereolive``."""

import sys

from stereolive.cli import main

sys.exit(main())
