"""Pictures in, one self-describing checkpoint out. Importing this package does not import torch."""
