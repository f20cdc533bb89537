"""Time and memory of the nearest neighbours of 1,000 generated images among 100,000 training images.

OMP_NUM_THREADS=1 python benchmarks/neighbours.py [--bank 100000] [--width 1024] [--queries 1000]
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from memcontrol.measures.functional.neighbours import nearest


def main() -> None:
    """Print CPU seconds and the growth of memory beyond the features themselves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--queries", type=int, default=1000)
    options = parser.parse_args()
    rng = torch.Generator().manual_seed(0)
    bank = torch.randn(options.bank, options.width, generator=rng)
    queries = torch.randn(options.queries, options.width, generator=rng)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, clock = time.process_time(), time.monotonic()
    nearest(queries, bank)
    spent, wall = time.process_time() - started, time.monotonic() - clock
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = bank.numel() * 4 / 2**30
    print(
        f"{torch.get_num_threads()} thread(s): {spent:.2f} s CPU, {wall:.2f} s wall; bank {size:.2f} GiB, peak of the "
        f"process {after / 2**20:.2f} GiB, grown by {(after - before) / 2**20:.2f} GiB"
    )


if __name__ == "__main__":
    main()
