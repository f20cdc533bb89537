"""The command line in a checkout: `python train.py fit --config demo.yaml`; installed, it is `memcontrol`."""

from __future__ import annotations

from memcontrol.cli import main

if __name__ == "__main__":
    main()
