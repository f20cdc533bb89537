"""The command line: `python train.py fit --config demo.yaml`, also installed as `memcontrol`."""

from __future__ import annotations

import callbacks  # noqa: F401 - so that short class names in configs resolve
from memcontrol.cli import main

if __name__ == "__main__":
    main()
