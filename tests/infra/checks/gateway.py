"""The gateway's policies as deployed: required credentials, removed headers, CORS, limits and logs."""

import json
import re
import xml.etree.ElementTree as xml

import bicep
from checks.slots import settings_of
from harness import EXAMPLE_VALUES, Mistake, check

# Headers that could forge a caller's identity or address; the gateway removes them.
STRIPPED = (
    "x-functions-key x-ms-client-principal x-ms-client-principal-id x-ms-client-principal-name x-ms-client-principal-idp "
    "x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-original-host x-original-url disguised-host "
    "forwarded ocp-apim-subscription-key cookie"
).split()
# Required credentials by path.
EXPECTED = {
    "/room/create": "entra",
    "/room/{name}": "entra",
    "/public/room/{name}": "service",
    "/public/event_sink": "address",
    "/policy/v1/service/configuration": "address",
    "/health": "nothing",
    "/health/live": "nothing",
    "/health/ready": "nothing",
    "/openapi.json": "nothing",
}


# Sections that forward requests themselves: a backend section holds one policy.
FORWARDING = (("api.xml", "backend"), ("look-ups.xml", "backend"))
# What a look-up of a node says of a caller.
OF_CALLERS = (
    "remote_alias remote_display_name remote_address remote_port vendor call_tag service_tag idp_uuid teams_tenant_id "
    "third_party_passcode telehealth_request_id previous_service_name ms-subnet p_Asserted-Identity P-Asserted-Identity"
).split()


def operations(tree):
    return json.loads(tree.text("infra/gateway/operations.json"))


def policies(deployment):
    """Slot, operation (none for the whole API) and root element of each policy."""
    kind = "Microsoft.ApiManagement/service/apis"
    for policy in deployment.of_type(f"{kind}/policies") + deployment.of_type(f"{kind}/operations/policies"):
        parts = policy.name.split("/")
        slot = parts[1].removeprefix("maxconf-")
        yield slot, parts[2] if len(parts) == 4 else None, xml.fromstring(policy.properties["value"])


def texts(root, path):
    return [element.text for element in root.findall(path)]


@check(
    "policies are XML of the right shape with nothing left to fill in",
    Mistake("infra/gateway/idim.xml", "<audiences>", "<audience>", "not well-formed"),
    Mistake(
        "infra/gateway/idim.xml",
        "'@(\"address:\" + context.Request.IpAddress)'",
        '"@("address:" + context.Request.IpAddress)"',
        "not well-formed",
    ),
    Mistake("infra/gateway/open.xml", "<outbound>\n    <base />\n  </outbound>\n", "", "has no outbound"),
    Mistake("infra/gateway/widget.xml", "<inbound>\n    <base />", "<inbound>", "inbound does not begin with the API's own"),
    Mistake("infra/modules/api-management.bicep", "'[[tenant]]'", "'[[tenants]]'", "[[tenant]] is not filled in"),
)
def shape(tree):
    for path in tree.files("infra/gateway/*.xml"):
        try:
            root = xml.parse(path).getroot()
        except xml.ParseError as error:
            yield f"{tree.short(path)}: not well-formed: {error}"
            return
        for section in ("inbound", "backend", "outbound", "on-error"):
            element = root.find(section)
            if element is None:
                yield f"{tree.short(path)} has no {section}"
            elif (len(element) == 0 or element[0].tag != "base") and (path.name, section) not in FORWARDING:
                yield f"{tree.short(path)}: {section} does not begin with the API's own"
    for environment, deployment in tree.environments.items():
        for slot, operation, root in policies(deployment):
            for left in re.findall(r"\[\[\w+\]\]", xml.tostring(root, encoding="unicode")):
                yield f"{environment}/{slot}/{operation}: {left} is not filled in"


@check(
    "each operation requires its callers' credentials",
    Mistake(
        "infra/gateway/operations.json",
        '"path": "/room/{name}", "policy": "idim"',
        '"path": "/room/{name}", "policy": "open"',
        "DELETE /room/{name} asks for nothing",
    ),
    Mistake(
        "infra/gateway/operations.json",
        '"path": "/public/room/{name}", "policy": "widget"',
        '"path": "/public/room/{name}", "policy": "idim"',
        "GET /public/room/{name} asks for entra",
    ),
    Mistake(
        "infra/gateway/conferencing-nodes.xml",
        '<ip-filter action="allow">[[nodes]]</ip-filter>',
        "",
        "POST /public/event_sink asks for service",
    ),
    Mistake("infra/gateway/idim.xml", "<audiences>[[audiences]]</audiences>", "", "takes tokens for others"),
    Mistake(
        "infra/gateway/idim.xml",
        "<client-application-ids>[[clients]]</client-application-ids>",
        "",
        "takes tokens of any client",
    ),
    Mistake("infra/gateway/idim.xml", 'tenant-id="[[tenant]]"', 'tenant-id="common"', "takes tokens of the tenant common"),
    Mistake(
        "infra/modules/api-management.bicep",
        "slot.name == 'staging'",
        "slot.name == 'nowhere'",
        "anybody can try out the release candidate",
    ),
    Mistake(
        "infra/modules/api-management.bicep",
        "subscriptionRequired: false",
        "subscriptionRequired: true",
        "wants a subscription key",
    ),
)
def proof(tree):
    by_id = {operation["id"]: operation for operation in operations(tree)}
    for environment, deployment in tree.environments.items():
        settings = settings_of(deployment)
        seen = set()
        for slot, operation, root in policies(deployment):
            where = f"{environment}/{slot}"
            if operation is None:
                admitted = texts(root, "inbound/ip-filter[@action='allow']/address")
                if (slot == "staging") != bool(admitted):
                    yield f"{where}: " + (
                        "anybody can try out the release candidate" if slot == "staging" else "is closed to its callers"
                    )
                continue
            entry = by_id[operation]
            seen.add((slot, operation))
            asked = asked_for(root)
            if asked != EXPECTED.get(entry["path"]):
                yield f"{where}: {entry['method']} {entry['path']} asks for {asked}"
            for token in root.findall("inbound/validate-azure-ad-token"):
                if token.get("tenant-id") != settings[slot]["ENTRA_TENANT_ID"]:
                    yield f"{where}: {entry['path']} takes tokens of the tenant {token.get('tenant-id')}"
                if texts(token, "audiences/audience") != audiences_of(settings[slot]):
                    yield f"{where}: {entry['path']} takes tokens for others"
                if texts(token, "client-application-ids/application-id") != settings[slot]["ENTRA_ALLOWED_CLIENT_IDS"].split(
                    ","
                ):
                    yield f"{where}: {entry['path']} takes tokens of any client"
        for slot in settings:
            for missing in sorted(by_id.keys() - {operation for at, operation in seen if at == slot}):
                yield f"{environment}/{slot}: {missing} has no policy"
        for api in deployment.of_type("Microsoft.ApiManagement/service/apis"):
            if api.properties["subscriptionRequired"]:
                yield f"{environment}: {api.name} wants a subscription key, which no caller has"


OPTIONS = {"GATEWAY_PRODUCT": "idim", "OLDER_SERVICE_URL": "https://gateway.example.org/older"}
CREDENTIALS = {"entra": "Authorization", "service": "x-auth-token"}


@check(
    "look-ups are for the nodes and the smoke test, end before a node gives up, and say nothing of callers",
    Mistake("infra/gateway/look-ups.xml", "[[nodes]]", "", "nodes cannot ask"),
    Mistake("infra/gateway/look-ups.xml", "[[smokers]]", "", "the smoke test cannot ask"),
    Mistake("infra/gateway/conferencing-nodes.xml", "[[nodes]]", "[[nodes]][[smokers]]", "event_sink admits others than the nodes"),
    Mistake("infra/gateway/look-ups.xml", 'timeout="4"', 'timeout="5"', "waits 5 s"),
    Mistake("infra/gateway/look-ups.xml", 'follow-redirects="false"', 'follow-redirects="true"', "follows redirects"),
    Mistake("infra/gateway/look-ups.xml", "    [[without_callers]]\n", "", "the service gets remote_alias"),
    Mistake("infra/modules/api-management.bicep", "  'remote_display_name'\n", "", "the service gets remote_display_name"),
    Mistake("infra/modules/api-management.bicep", ", ofCallers), name", "), name", "remote_alias is not hidden"),
    Mistake("infra/modules/api-management.bicep", "'local_alias', ", "", "local_alias is not hidden"),
    Mistake("infra/gateway/operations.json", '"policy": "look-ups"', '"policy": "conferencing-nodes"', "the smoke test cannot ask"),
)
def look_ups(tree):
    for environment, deployment in tree.environments.items():
        nodes, smokers = (EXAMPLE_VALUES[name].split(",") for name in ("PEXIP_CONFERENCING_NODES", "SMOKE_ADDRESSES"))
        for slot, operation, root in policies(deployment):
            where = f"{environment}/{slot}"
            admitted = set(texts(root, "inbound/ip-filter[@action='allow']/address"))
            if operation == "event_sink" and admitted != set(nodes):
                yield f"{where}: {operation} admits others than the nodes"
            if operation != "policy":
                continue
            for who, addresses in {"nodes": nodes, "the smoke test": smokers}.items():
                if not admitted.issuperset(addresses):
                    yield f"{where}: {who} cannot ask"
            forwarding = root.find("backend/forward-request")
            if forwarding is None:
                continue
            if int(forwarding.get("timeout")) >= 5:
                yield f"{where}: a look-up waits {forwarding.get('timeout')} s, and a node 5 s"
            if forwarding.get("follow-redirects") != "false":
                yield f"{where}: a look-up follows redirects"
            gone = {p.get("name") for p in root.findall("inbound/set-query-parameter[@exists-action='delete']")}
            yield from (f"{where}: the service gets {name}" for name in OF_CALLERS if name not in gone)
        for diagnostic in deployment.of_type("Microsoft.ApiManagement/service/apis/diagnostics"):
            hidden = {m["value"] for m in diagnostic.properties["frontend"]["request"]["dataMasking"]["queryParams"]}
            for name in ["local_alias", "service_name", *OF_CALLERS]:
                if name not in hidden:
                    yield f"{environment}: {diagnostic.name}: {name} is not hidden"


@check(
    "a subscription key and the older service are options: the key for IDIM, reads of others' rooms for the older service",
    Mistake(
        "infra/modules/api-management.bicep",
        "{ header: 'x-maxconf-no-key'",
        "{ header: 'Ocp-Apim-Subscription-Key'",
        "refuses the older API's key",
    ),
    Mistake("infra/gateway/idim.xml", "    [[key]]\n", "", "room_create asks for no key"),
    Mistake("infra/gateway/widget.xml", "<base />\n    <!--", "<base />\n    [[key]]\n    <!--", "public_room asks for a key"),
    Mistake(
        "infra/gateway/options/older-service.xml",
        'context.Request.Method == "GET"',
        'context.Request.Method != "POST"',
        "asks the older service for more than reads",
    ),
    Mistake("infra/gateway/options/older-service.xml", '!context.Request.MatchedParameters["name"].', "!", "rooms of ours"),
    Mistake("infra/modules/api-management.bicep", "widget: 'x-auth-token'", "widget: 'cookie'", "sends it Ocp-Apim-Subscription-Key, cookie"),
    Mistake("infra/gateway/open.xml", "<outbound>\n    <base />", "<outbound>\n    <base />\n    [[older]]", "sends it nothing"),
    Mistake(
        "infra/modules/api-management.bicep",
        "var olderPolicy = empty(gateway.olderService) ? '' : ",
        "var olderPolicy = false ? '' : ",
        "asks the older service, which has no address",
    ),
)
def options(tree):
    for environment, deployment in tree.environments.items():
        for slot, operation, root in policies(deployment):
            if root.find(".//send-request") is not None:
                yield f"{environment}/{slot}/{operation}: asks the older service, which has no address"
        for api in deployment.of_type("Microsoft.ApiManagement/service/apis"):
            if api.properties["subscriptionKeyParameterNames"]["header"] == "Ocp-Apim-Subscription-Key":
                yield f"{environment}: {api.name} refuses the older API's key, which IDIM may still send"
        chosen = bicep.evaluate(tree.path(f"infra/{environment}.bicepparam"), EXAMPLE_VALUES | OPTIONS)
        settings = settings_of(chosen)
        if len(chosen.of_type("Microsoft.ApiManagement/service/products/apis")) != len(settings):
            yield f"{environment}: the product does not have the API of each slot"
        for slot, operation, root in policies(chosen):
            if operation is None:
                continue
            where, asked = f"{environment}/{slot}: {operation}", asked_for(root)
            has_key = any("context.Subscription" in when.get("condition") for when in root.findall("inbound/choose/when"))
            if has_key != (asked == "entra"):
                yield f"{where} asks for {'a' if has_key else 'no'} key"
            requests = root.findall("outbound/choose/when")
            if len(requests) != (asked in CREDENTIALS):
                yield f"{where} sends it nothing that the older service could check"
            for when in requests:
                if 'StatusCode == 404 && context.Request.Method == "GET"' not in when.get("condition"):
                    yield f"{where} asks the older service for more than reads"
                prefix = settings[slot]["ROOM_NAME_PREFIX"]
                if f'!context.Request.MatchedParameters["name"].StartsWith("{prefix}")' not in when.get("condition"):
                    yield f"{where} asks the older service for rooms of ours"
                sent = {header.get("name") for header in when.findall("send-request/set-header")}
                if sent != {CREDENTIALS.get(asked), "Ocp-Apim-Subscription-Key"}:
                    yield f"{where} sends it {', '.join(sorted(sent))}"
                if OPTIONS["OLDER_SERVICE_URL"] not in when.find("send-request/set-url").text:
                    yield f"{where} asks another address"


def audiences_of(settings):
    clients = settings["ENTRA_ALLOWED_CLIENT_IDS"].split(",")
    own = [audience for client in clients for audience in (client, f"api://{client}")]
    return [
        accepted
        for audience in settings["ENTRA_AUDIENCE"].split(",")
        for accepted in (own if audience == "own" else [audience])
    ]


def asked_for(root):
    inbound = root.find("inbound")
    if inbound.find("validate-azure-ad-token") is not None:
        return "entra"
    if inbound.find("ip-filter[@action='allow']/address") is not None:
        return "address"
    gone = {h.get("name") for h in inbound.findall("set-header[@exists-action='delete']")}
    return "nothing" if {"authorization", "x-auth-token"} <= gone else "service"


@check(
    "forged identity headers are removed, and Authorization is forwarded",
    Mistake(
        "infra/gateway/api.xml",
        '<set-header name="x-ms-client-principal-id" exists-action="delete" />',
        "",
        "x-ms-client-principal-id",
    ),
    Mistake(
        "infra/gateway/api.xml",
        '<set-header name="x-forwarded-proto" exists-action="delete" />',
        '<set-header name="x-forwarded-proto" exists-action="skip"><value>https</value></set-header>',
        "x-forwarded-proto",
    ),
    Mistake(
        "infra/gateway/api.xml",
        '<set-query-parameter name="subscription-key" exists-action="delete" />',
        "",
        "bring a key in the query",
    ),
    Mistake(
        "infra/gateway/api.xml",
        '<set-query-parameter name="x-ms-routing-name" exists-action="delete" />',
        "",
        "another slot",
    ),
    Mistake(
        "infra/gateway/idim.xml",
        '<set-header name="x-auth-token" exists-action="delete" />',
        '<set-header name="Authorization" exists-action="delete" />',
        "Authorization",
    ),
)
def stripped(tree):
    for environment, deployment in tree.environments.items():
        for slot, operation, root in policies(deployment):
            gone = {h.get("name").lower() for h in root.findall("inbound/set-header[@exists-action='delete']")}
            if operation is None:
                yield from (f"{environment}/{slot}: callers can send {name}" for name in STRIPPED if name not in gone)
                parameters = {p.get("name") for p in root.findall("inbound/set-query-parameter[@exists-action='delete']")}
                if not {"code", "subscription-key", "x-ms-routing-name"} <= parameters:
                    yield f"{environment}/{slot}: callers can choose another slot or bring a key in the query"
            touched = {h.get("name").lower() for h in root.findall("inbound/set-header")}
            if "authorization" in touched and asked_for(root) != "nothing":
                yield f"{environment}/{slot}/{operation}: Authorization does not reach the service"


@check(
    "the gateway writes the caller's address, and the service reads it there",
    Mistake(
        "infra/gateway/api.xml",
        '"[[address_header]]" exists-action="override"',
        '"[[address_header]]" exists-action="skip"',
        "a caller chooses its address",
    ),
    Mistake(
        "infra/gateway/api.xml",
        "@(context.Request.IpAddress)</value>",
        "@(context.RequestId)</value>",
        "is not the caller's address",
    ),
    Mistake(
        "infra/modules/function-app.bicep",
        "CLIENT_ADDRESS_HEADER: clientAddressHeader",
        "CLIENT_ADDRESS_HEADER: 'x-other'",
        "x-other",
    ),
)
def client_address(tree):
    for environment, deployment in tree.environments.items():
        settings = settings_of(deployment)
        for slot, operation, root in policies(deployment):
            name = settings[slot]["CLIENT_ADDRESS_HEADER"]
            written = [h for h in root.findall("inbound/set-header") if h.get("name").lower() == name.lower()]
            if operation is not None:
                yield from (f"{environment}/{slot}/{operation}: {name} is changed" for _ in written)
            elif not written:
                yield f"{environment}/{slot}: nobody writes {name}"
            elif written[0].get("exists-action") != "override":
                yield f"{environment}/{slot}: a caller chooses its address"
            elif texts(written[0], "value") != ["@(context.Request.IpAddress)"]:
                yield f"{environment}/{slot}: {name} is not the caller's address"


@check(
    "no body goes through with a method that has none",
    Mistake("infra/gateway/api.xml", 'Method != "POST"', 'Method == "GET"', "a DELETE can have a body"),
)
def bodies(tree):
    for environment, deployment in tree.environments.items():
        for slot, operation, root in policies(deployment):
            if operation is None:
                emptied = {
                    when.get("condition")
                    for when in root.findall("inbound/choose/when")
                    if texts(when, "set-body") == ['@("")']
                }
                if '@(context.Request.Method != "POST")' not in emptied:
                    yield f"{environment}/{slot}: a DELETE can have a body"


@check(
    "only the gateway answers CORS",
    Mistake(
        "infra/gateway/widget.xml",
        "<base />\n    <!-- The agents",
        "<base />\n    <cors><allowed-origins><origin>*</origin></allowed-origins></cors>\n    <!-- The agents",
        "a second time",
    ),
    Mistake("infra/gateway/api.xml", "<method>GET</method>", "<method>*</method>", "methods"),
    Mistake("infra/modules/api-management.bicep", "'<origin>${origin}</origin>'", "'<origin>*</origin>'", "origins"),
    Mistake(
        "infra/modules/function-app.bicep",
        "CORS_ALLOWED_ORIGINS: ''",
        "CORS_ALLOWED_ORIGINS: 'https://agent.example.org'",
        "the service answers CORS too",
    ),
    Mistake(
        "infra/modules/function-app.bicep",
        "cors: { allowedOrigins: [] }",
        "cors: { allowedOrigins: ['*'] }",
        "the platform answers CORS too",
    ),
    Mistake("infra/gateway/api.xml", 'allow-credentials="false"', 'allow-credentials="true"', "credentials"),
)
def cors(tree):
    for environment, deployment in tree.environments.items():
        for slot, settings in settings_of(deployment).items():
            if settings["CORS_ALLOWED_ORIGINS"]:
                yield f"{environment}/{slot}: the service answers CORS too"
        for site in deployment.of_type("Microsoft.Web/sites") + deployment.of_type("Microsoft.Web/sites/slots"):
            if site.properties["siteConfig"].get("cors", {}).get("allowedOrigins"):
                yield f"{environment}: {site.name}: the platform answers CORS too"
        for slot, operation, root in policies(deployment):
            rules = root.findall(".//cors")
            if operation is not None:
                if rules:
                    yield f"{environment}/{slot}/{operation}: CORS a second time"
                continue
            if [rule.tag for rule in root.find("inbound")][:2] != ["base", "cors"]:
                yield f"{environment}/{slot}: something can refuse before CORS"
            [rule] = rules
            if texts(rule, "allowed-methods/method") != ["GET"]:
                yield f"{environment}/{slot}: CORS allows other methods than GET"
            if texts(rule, "allowed-headers/header") != ["x-auth-token", "x-request-id", "traceparent", "tracestate", "request-id"]:
                yield f"{environment}/{slot}: CORS allows other headers than the widget sends"
            origins = texts(rule, "allowed-origins/origin")
            if not origins or not all(re.fullmatch(r"https://[\w.-]+(:\d+)?", origin) for origin in origins):
                yield f"{environment}/{slot}: CORS allows origins that are no exact https origins: {origins}"
            if rule.get("allow-credentials") != "false":
                yield f"{environment}/{slot}: CORS allows credentials"


@check(
    "callers are rate-limited, and a breaker stops calls to a dead handler",
    Mistake("infra/gateway/open.xml", "rate-limit-by-key", "rate-limit-by", "health_live is not limited by address"),
    Mistake("infra/gateway/idim.xml", '"client:"', '"caller:"', "room_create is not limited by client"),
    Mistake(
        "infra/gateway/widget.xml", "StatusCode == 401", "StatusCode == 400", "public_room does not count refused tokens"
    ),
    Mistake(
        "infra/gateway/conferencing-nodes.xml",
        "<base />\n    <ip-filter",
        "<base />\n    <rate-limit-by-key counter-key='x' />\n    <ip-filter",
        "holds nodes back",
    ),
    Mistake(
        "infra/gateway/idim.xml", '<set-backend-service backend-id="[[backend]]" />', "", "room_create shares its breaker"
    ),
    Mistake(
        "infra/modules/api-management.bicep",
        "entry.policy == 'idim'",
        "entry.policy != 'open'",
        "has a breaker that callers without a token can open",
    ),
    Mistake("infra/gateway/api.xml", 'timeout="40"', 'timeout="240"', "waits 240 s"),
    Mistake(
        "infra/modules/function-app.bicep", "REQUEST_DEADLINE_SECONDS: '25'", "REQUEST_DEADLINE_SECONDS: '60'", "waits 40 s"
    ),
    Mistake(
        "infra/modules/api-management.bicep",
        "{ min: 500, max: 500 }",
        "{ min: 500, max: 599 }",
        "takes the service's own answers",
    ),
    Mistake(
        "infra/modules/api-management.bicep",
        "name: 'maxconf-${slot.name}'\n  properties: {\n    protocol",
        "name: 'maxconf-${slot.name}-x'\n  properties: {\n    protocol",
        "no backend",
    ),
)
def limits(tree):
    for environment, deployment in tree.environments.items():
        settings = settings_of(deployment)
        backends = {b.body["name"]: b.properties for b in deployment.of_type("Microsoft.ApiManagement/service/backends")}
        for slot, operation, root in policies(deployment):
            where = f"{environment}/{slot}"
            keys = " ".join(limit.get("counter-key") for limit in root.findall("inbound/rate-limit-by-key"))
            if operation is None:
                timeout = int(root.find("backend/forward-request").get("timeout"))
                if not int(settings[slot]["REQUEST_DEADLINE_SECONDS"]) < timeout < 230:
                    yield f"{where}: the gateway waits {timeout} s"
                backend = root.find("inbound/set-backend-service").get("backend-id")
                if backend != f"maxconf-{slot}" or backend not in backends:
                    yield f"{where}: no backend {backend}"
                continue
            if asked_for(root) == "address" and root.find("inbound/rate-limit-by-key") is not None:
                yield f"{where}: {operation} holds nodes back, which send their account only after a 401"
            refused = [limit for limit in root.findall("inbound/rate-limit-by-key") if "refused:" in limit.get("counter-key")]
            if asked_for(root) == "service" and [limit.get("increment-condition") for limit in refused] != [
                "@(context.Response.StatusCode == 401)"
            ]:
                yield f"{where}: {operation} does not count refused tokens"
            backend = root.find("inbound/set-backend-service")
            own = f"maxconf-{slot}-{operation}"
            if asked_for(root) != "entra":
                if own in backends:
                    yield f"{where}: {operation} has a breaker that callers without a token can open"
            elif backend is None or backend.get("backend-id") != own or "circuitBreaker" not in backends.get(own, {}):
                yield f"{where}: {operation} shares its breaker"
            if asked_for(root) != "address" and "address:" not in keys:
                yield f"{where}: {operation} is not limited by address"
            if asked_for(root) == "entra" and "client:" not in keys:
                yield f"{where}: {operation} is not limited by client"
        for name, backend in backends.items():
            if "circuitBreaker" not in backend:
                continue
            [rule] = backend["circuitBreaker"]["rules"]
            if rule["failureCondition"]["statusCodeRanges"] != [{"min": 500, "max": 500}]:
                yield f"{environment}: {name}: the breaker takes the service's own answers for a dead handler"


@check(
    "the gateway's refusals equal the service's problems",
    Mistake("infra/gateway/idim.xml", "The token is not valid", "Bad token", "The token is not valid"),
    Mistake("infra/gateway/idim.xml", "problems/token-missing", "problems/missing", "problems/token-missing"),
    Mistake("infra/gateway/idim.xml", '"code", "token_missing"', '"code", "no_token"', "no_token is no code"),
    Mistake("src/http/problem.rs", '"A token is needed"', '"No token"', "No token"),
    Mistake("infra/gateway/api.xml", 'code="429"', 'code="430"', "rate_limited is said"),
)
def words(tree):
    statuses = {"UNAUTHORIZED": 401, "FORBIDDEN": 403, "TOO_MANY_REQUESTS": 429}
    listed = re.findall(r'^ +\w+ ([A-Z_]+) "(\w+)" "([^"]+)";$', tree.text("src/http/problem.rs"), re.MULTILINE)
    known = {code: (statuses.get(status), title) for status, code, title in listed}
    # As soon as the service has the code, its texts apply.
    known.setdefault("rate_limited", (429, "Too many requests"))
    for path in tree.files("infra/gateway/*.xml", "infra/gateway/options/*.xml"):
        for answer in xml.parse(path).getroot().iter("return-response"):
            said = dict(re.findall(r'JProperty\("(\w+)", "?([^",)]+)"?\)', answer.find("set-body").text))
            if said["code"] not in known:
                yield f"{tree.short(path)}: {said['code']} is no code of the service"
                continue
            status, title = known[said["code"]]
            kind = f"https://docs.maxconf.ca/problems/{said['code'].replace('_', '-')}"
            expected = {"type": kind, "title": title, "status": str(status)}
            if {name: said[name] for name in expected} != expected or answer.find("set-status").get("code") != str(status):
                yield f"{tree.short(path)}: {said['code']} is said as {said}, and the service says {expected}"


@check(
    "no log holds uuiData or a token",
    Mistake("infra/modules/api-management.bicep", "['uuiData', ", "[", "uuiData is not hidden"),
    Mistake(
        "infra/modules/api-management.bicep",
        "{ value: 'x-auth-token', mode: 'Hide' }",
        "{ value: 'x-auth-token', mode: 'Mask' }",
        "x-auth-token is not hidden",
    ),
    Mistake(
        "infra/modules/api-management.bicep",
        "'code', 'subscription-key', ",
        "'code', ",
        "subscription-key is not hidden",
    ),
    Mistake("infra/modules/api-management.bicep", "body: { bytes: 0 }", "body: { bytes: 512 }", "keeps bodies"),
    Mistake(
        "infra/modules/function-app.bicep",
        "category: 'AppServicePlatformLogs'",
        "category: 'AppServiceHTTPLogs'",
        "AppServiceHTTPLogs",
    ),
    Mistake(
        "infra/modules/function-app.bicep",
        "{ category: 'AppServicePlatformLogs', enabled: true }",
        "{ categoryGroup: 'allLogs', enabled: true }",
        "allLogs",
    ),
)
def masked(tree):
    for environment, deployment in tree.environments.items():
        diagnostics = deployment.of_type("Microsoft.ApiManagement/service/apis/diagnostics")
        if len(diagnostics) != 4:
            yield f"{environment}: {len(diagnostics)} diagnostics, not 2 for each slot"
        for diagnostic in diagnostics:
            for side in ("frontend", "backend"):
                for way, message in diagnostic.properties[side].items():
                    hidden = {m["value"] for ms in message["dataMasking"].values() for m in ms if m["mode"] == "Hide"}
                    for name in ("uuiData", "Authorization", "x-auth-token", "Ocp-Apim-Subscription-Key", "subscription-key"):
                        if name not in hidden:
                            yield f"{environment}: {diagnostic.name}: {side} {way}: {name} is not hidden"
                    if message["body"]["bytes"]:
                        yield f"{environment}: {diagnostic.name}: {side} {way} keeps bodies"
        for setting in deployment.of_type("Microsoft.Insights/diagnosticSettings"):
            for log in setting.properties["logs"]:
                if log.get("category") in (None, "AppServiceHTTPLogs"):
                    yield f"{environment}: {log.get('category') or log.get('categoryGroup')} would hold the query string"
