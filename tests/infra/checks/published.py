"""What the gateway publishes, beside what the functions serve and what the OpenAPI document says."""

import json

from checks.gateway import operations
from harness import Mistake, Skipped, check


@check(
    "what the gateway publishes is what the functions serve",
    Mistake(
        "infra/gateway/operations.json",
        '"method": "DELETE"',
        '"method": "PUT"',
        "PUT /room/{name} is published and no function serves it",
    ),
    Mistake(
        "function_room_create/function.json",
        '"route": "room/create"',
        '"route": "room/make"',
        "POST /room/make is served and not published",
    ),
)
def served(tree):
    published = {(o["method"], o["path"]) for o in operations(tree)}
    functions = set()
    for path in tree.files("function_*/function.json"):
        for binding in json.loads(path.read_text())["bindings"]:
            if binding["type"] == "httpTrigger":
                functions |= {(method.upper(), "/" + binding["route"]) for method in binding["methods"]}
    # Preflights end at the gateway.
    functions = {one for one in functions if one[0] != "OPTIONS"}
    # From the day on which the service has it, it counts.
    coming = {("GET", "/openapi.json")}
    for method, path in sorted(published - functions - coming):
        yield f"{method} {path} is published and no function serves it"
    for method, path in sorted(functions - published):
        yield f"{method} {path} is served and not published"


@check(
    "the OpenAPI document has the operations that have policies",
    Mistake("infra/gateway/operations.json", '"id": "room_delete"', '"id": "delete_room"', "delete_room"),
)
def described(tree):
    path = tree.path("infra/openapi.json")
    if not path.exists():
        raise Skipped("infra/openapi.json is not there yet; nothing can be deployed without it")
    document = json.loads(path.read_text())
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
