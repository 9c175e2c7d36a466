"""With ALEXNET_JSON_LOG every line of the log is JSON, whatever is in it."""

import json
import logging

from service.logs import JsonLines, as_json


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("bentoml.cli", logging.WARNING, "cli.py", 1, message, arguments, None)
    made.__dict__.update(extra, created=0.0)
    return made


def test_a_record_is_one_line_with_its_process() -> None:
    line = JsonLines().format(record('said "%s"\nand more', "é", component="[:2]"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.000+00:00",
        "level": "WARNING",
        "logger": "bentoml.cli",
        "process": "2",
        "message": 'said "é"\nand more',
    }


def test_a_traceback_is_in_the_line_too() -> None:
    try:
        raise RuntimeError("no memory")
    except RuntimeError as error:
        made = record("failed", exc_info=(type(error), error, error.__traceback__))
    line = JsonLines().format(made)
    assert "\n" not in line
    assert json.loads(line)["traceback"].endswith("RuntimeError: no memory")


def test_handlers_that_are_there_write_json_from_then_on() -> None:
    logger, handler = logging.getLogger("circus"), logging.StreamHandler()
    logger.addHandler(handler)
    roots = {root: root.formatter for root in logging.getLogger().handlers}
    try:
        as_json()
        assert isinstance(handler.formatter, JsonLines)
    finally:
        logger.removeHandler(handler)
        for root, formatter in roots.items():
            root.setFormatter(formatter)
