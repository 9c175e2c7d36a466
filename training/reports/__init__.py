"""What a run shows people: progress, model card, pictures, TensorBoard events, profiler trace."""
