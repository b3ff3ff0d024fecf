"""Compares what the gateway publishes with the functions' routes and the OpenAPI document."""

import json
import re

from checks.gateway import operations
from harness import Mistake, check


@check(
    "the gateway publishes exactly what the functions serve",
    Mistake(
        "infra/gateway/operations.json",
        '"method": "DELETE"',
        '"method": "PUT"',
        "PUT /room/{name} is published, but no function serves it",
    ),
    Mistake(
        "function_room_create/function.json",
        '"route": "room/create"',
        '"route": "room/make"',
        "POST /room/make is served, but not published",
    ),
    Mistake(
        "function_health/function.json",
        '"route": "health/{probe?}"',
        '"route": "health/{probe}"',
        "GET /health is published, but no function serves it",
    ),
)
def served(tree):
    published = {(o["method"], o["path"]) for o in operations(tree)}
    functions = set()
    for path in tree.files("function_*/function.json"):
        for binding in json.loads(path.read_text())["bindings"]:
            if binding["type"] == "httpTrigger":
                functions |= {(method.upper(), "/" + binding["route"]) for method in binding["methods"]}
    for one in sorted(published):
        if not any(leads_to(function, one) for function in functions):
            yield f"{' '.join(one)} is published, but no function serves it"
    for function in sorted(functions):
        if not any(leads_to(function, one) for one in published):
            yield f"{' '.join(function)} is served, but not published"


def leads_to(function, operation):
    """Whether a function's route matches the operation; a parameter matches any segment, and none if it is optional."""
    (method, route), (wanted, path) = function, operation
    route = re.sub(r"/\{\w+\?\}$", "(/[^/]+)?", route)
    return method == wanted and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), path) is not None


@check(
    "the OpenAPI document has the operations that have policies",
    Mistake("infra/gateway/operations.json", '"id": "room_delete"', '"id": "delete_room"', "delete_room"),
)
def described(tree):
    document = json.loads(tree.text("infra/openapi.json"))
    described = {
        (operation.get("operationId"), method.upper(), route)
        for route, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "put", "post", "delete", "options", "head", "patch", "trace")
    }
    published = {(o["id"], o["method"], o["path"]) for o in operations(tree)}
    for one in sorted(published - described, key=str):
        yield f"infra/openapi.json does not describe {' '.join(one)}"
    for one in sorted(described - published, key=str):
        yield f"infra/openapi.json describes {' '.join(map(str, one))}, which has no policy"
