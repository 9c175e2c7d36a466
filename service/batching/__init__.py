"""Between requests and the engine: how many come in, the line in which they wait, and their batches."""
