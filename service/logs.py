"""All that BentoML logs as lines of JSON, for whoever collects what a container prints."""

import json
import logging
from datetime import UTC, datetime

# Those that BentoML gives a handler; "" is the root of all.
LOGGERS = ("", "bentoml", "circus", "uvicorn.error")


class JsonLines(logging.Formatter):
    """One line of JSON for a record, with its traceback where it has one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            # BentoML's name of the process: [cli], or [:1] for the first worker.
            "process": getattr(record, "component", "").strip("[:]"),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def as_json() -> None:
    """Let every handler that there is write JSON; to be called once BentoML has made its own."""
    for handler in {handler for name in LOGGERS for handler in logging.getLogger(name).handlers}:
        handler.setFormatter(JsonLines())
