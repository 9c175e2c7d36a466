"""A checkpoint in, one verified bundle out. Importing this package does not import torch."""
