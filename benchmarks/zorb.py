"""ZORB against its published form, random features with ridge, ridge, and MLPs.

    python -m benchmarks.zorb [--quick] [--only PART ...] [--reference PATH]

Parts: accuracy, agreement, speed, memory, images, network, rank, time (to accuracy).
PATH is the folder that has the published package `zorb` (KuangshiAi/ZORB; its data sets
need TensorFlow: leave them out). Without it "published" is `nn.ReferenceZORB` in
float64, which the part "agreement" compares with it. Accuracy is on held-out data, R2
for regressions; the mean over splits or seeds. `images` are Fashion-MNIST.
"""

import argparse
import importlib
import sys

from benchmarks import (
    _zorb_images as images,
    _zorb_published as published,
    _zorb_tables as tables,
)


PARTS = {
    "accuracy": tables.accuracy,
    "rank": tables.rank,
    "time": tables.time_to_accuracy,
    "memory": tables.memory,
    "agreement": published.agreement,
    "speed": published.speed,
    "images": images.accuracy,
    "network": images.network,
}
QUICK = ("accuracy", "rank", "memory")


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Benchmark ZORB.")
    parser.add_argument("--quick", action="store_true", help="one seed, small data")
    parser.add_argument("--only", nargs="*", choices=PARTS, help="these parts")
    parser.add_argument("--reference", help="folder of the published package")
    options = parser.parse_args(arguments)
    reference = None
    if options.reference:
        sys.path.insert(0, options.reference)
        reference = importlib.import_module("zorb")
    for part in options.only or (QUICK if options.quick else PARTS):
        print(f"\n### {part}\n\n{(PARTS[part].__doc__ or '').strip()}\n", flush=True)
        PARTS[part](options.quick, reference)


if __name__ == "__main__":
    main()
