"""The API as an OpenAPI 3.1 document, with this server's limits and this model's classes in it."""

from http import HTTPStatus
from typing import Any

from export.bundle import Bundle
from service.http.errors import REASONS
from service.pictures.answers import default_top_k
from service.settings import Settings

FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
BASE64_FILES = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["data"],
        "properties": {
            "filename": {"type": ["string", "null"]},
            "data": {"type": "string", "contentEncoding": "base64"},
        },
    },
}
ENTRY: dict[str, Any] = {
    "type": "object",
    "required": ["label", "class_id", "probability"],
    "properties": {
        "label": {"type": "string"},
        "class_id": {"type": "integer"},
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
    },
}
PREDICTION = {
    "type": "object",
    "description": "The best class and the next ones, or in their place an error: what is wrong with this picture.",
    "required": ["filename"],
    "properties": {
        "filename": {"type": ["string", "null"]},
        **ENTRY["properties"],
        "unknown": {"type": "boolean", "description": "Whether it may show nothing that the model knows."},
        "top": {"type": "array", "items": {"$ref": "#/components/schemas/Entry"}},
        "error": {"type": "string"},
    },
}
ANSWER = {
    "type": "object",
    "required": ["model", "engine", "predictions"],
    "properties": {
        "model": {"type": "object", "properties": {"name": {"type": "string"}, "version": {"type": "string"}}},
        "engine": {"type": "string", "description": "What ran these pictures; names are joined by commas."},
        "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
    },
}
PROBLEM = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
    },
}


def described(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    """The document; whoever fetches it needs no key."""
    schemas = {"Entry": ENTRY, "Prediction": PREDICTION, "Answer": ANSWER, "Problem": PROBLEM}
    return {
        "openapi": "3.1.0",
        "info": {"title": bundle.name, "version": bundle.version, "description": _classes(bundle)},
        "paths": {
            "/classify": {"post": _classify(bundle, settings)},
            "/model": {"get": _plain("The model's card, the engine, and why not another", "application/json")},
            "/metrics": {"get": _plain("For Prometheus, of all workers", "text/plain")},
            "/livez": {"get": _plain("Whether the process lives", "text/plain")},
            "/readyz": {"get": _plain("Whether it answers requests", "text/plain")},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}] if settings.api_key else [],
    }


def _classes(bundle: Bundle) -> str:
    return f"Tells {len(bundle.classes)} classes apart: {', '.join(bundle.classes[:20])}" + (
        ", ..." if len(bundle.classes) > 20 else ""
    )


def _classify(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    classes = len(bundle.classes)
    top_k = {"type": "integer", "minimum": 1, "maximum": classes, "default": default_top_k(classes)}
    form = {"type": "object", "required": ["images"], "properties": {"images": FILES, "top_k": top_k}}
    body = {"type": "object", "required": ["images"], "properties": {"images": BASE64_FILES, "top_k": top_k}}
    limits = f"{settings.max_pictures} pictures, {settings.max_body_mib} MiB, {settings.max_megapixels} megapixels each"
    return {
        "summary": "Classify pictures: JPEG, PNG, WebP, GIF, BMP or TIFF",
        "description": f"Answers are in the order of the pictures. At most {limits}.",
        "parameters": [{"name": "top_k", "in": "query", "schema": top_k, "description": "How many classes to tell"}],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": body},
                "image/*": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": {"200": _response("A prediction or an error for each picture", "Answer"), **_refusals()},
    }


def _refusals() -> dict[str, Any]:
    """One for each status of the table of refusals that can meet pictures."""
    statuses = {status for reason, status in REASONS.items() if reason not in ("not_found", "method_not_allowed")}
    kind = "application/problem+json"
    return {str(int(status)): _response(HTTPStatus(status).phrase, "Problem", kind) for status in sorted(statuses)}


def _response(description: str, schema: str, kind: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _plain(summary: str, kind: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "OK", "content": {kind: {}}}}}
