"""Command line: python -m export CHECKPOINT --out build/bundle [--store], or import, list, show, diff, use first,
or --verify-only BUNDLE."""

import sys
from pathlib import Path

VERIFY = "--verify-only"
STORED = ("list", "show", "diff", "use")


def main(arguments: list[str] | None = None) -> int:
    """Run one command, or export the checkpoint that the first word names. Returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    first = words[0] if words else ""
    if first in (*STORED, "import") and Path(first).is_file():
        print(f"note: {first} is a command; to export the checkpoint of that name, write ./{first}", file=sys.stderr)
    # Imported when they are asked for: what only reads the store need not wait for torch.
    if first in STORED:
        from export.commands import stored

        return stored.main(words)
    if first == "import":
        from export.commands import importing

        return importing.main(words[1:])
    if VERIFY in words:
        from export.commands import verifying

        return verifying.main(words)
    from export.commands import checkpoint

    return checkpoint.main(words)


if __name__ == "__main__":
    sys.exit(main())
