"""What the cores can do without a server: our decoding and inference by 32 pictures, a process for each core."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping

import numpy as np

from benchmarks.serving import pictures
from benchmarks.serving.contenders import ROOT
from benchmarks.serving.peers.common import Classifier
from service.pictures.images import decode

AT_ONCE = 32


def measure(seconds: float, env: Mapping[str, str]) -> float:
    """Pictures a second of all processes together, all of which begin when the last one is ready."""
    words = [sys.executable, "-m", "benchmarks.serving.ceiling", str(seconds)]
    processes = [
        subprocess.Popen(words, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("begin\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in processes)


def rate(classifier: Classifier, files: list[bytes], seconds: float) -> float:
    """Pictures a second of this process."""
    side, channels = classifier.bundle.size, classifier.bundle.channels
    done, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        images = [decode(file, size=side, channels=channels, max_pixels=side * side) for file in files[:AT_ONCE]]
        classifier.probabilities(np.stack(images))
        done += AT_ONCE
    return done / elapsed


def main() -> None:
    """Load, say so, wait, run, print."""
    classifier = Classifier()
    files = pictures.jpegs(classifier.bundle.size, classifier.bundle.channels)
    rate(classifier, files, 0.2)
    print("ready", flush=True)
    sys.stdin.readline()
    print(rate(classifier, files, float(sys.argv[1])))


if __name__ == "__main__":
    main()
