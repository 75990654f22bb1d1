"""`python -m trimtab` is the command line."""

import sys

from trimtab.cli.main import main

sys.exit(main())
