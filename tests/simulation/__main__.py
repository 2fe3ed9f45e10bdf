"""`python -m tests.simulation FIRST END` plays the histories of seeds FIRST to END - 1; `-v SEED` tells one."""

import logging
import os
import sys

os.environ |= {"DO_NOT_TRACK": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # a fork has one thread
logging.disable(logging.CRITICAL)

from tests.simulation.histories import main  # noqa: E402  # Prefect reads the environment when it is imported

sys.exit(main(sys.argv[1:]))
