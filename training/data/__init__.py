"""Pictures: from files to uint8 tensors on the device, in splits, and augmented batch by batch."""
