"""Our service beside other ways to serve the same file, in turns in one run: python -m benchmarks.serving"""
