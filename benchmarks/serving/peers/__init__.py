"""The servers that ours is compared with; each is what its own documentation recommends for this machine's cores."""
