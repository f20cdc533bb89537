"""The command line in a checkout: `python train.py fit --config demo.yaml`; installed, it is `memcontrol`."""

from __future__ import annotations

from memcontrol.__main__ import run

if __name__ == "__main__":
    run()
