"""A bundle in, classification over HTTP out. PyTorch is imported only where its fallback engine runs."""
