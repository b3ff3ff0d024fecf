"""Alerts, dashboard and runbook."""

import json
import re

import yaml

from checks.slots import settings_of
from harness import Mistake, check

TABLES = ("AppMetrics", "AppRequests", "FunctionAppLogs")


def alert_rules(tree):
    return yaml.safe_load(tree.text("infra/alerts.yaml"))


def metrics(tree):
    return json.loads(tree.text("infra/metrics.json"))


@check(
    "alerts query metrics and labels that exist",
    Mistake("infra/alerts.yaml", '"maxconf.pool.destroyed"', '"maxconf.pool.destroy"', "maxconf.pool.destroy is no metric"),
    Mistake("infra/alerts.yaml", "Properties.outcome", "Properties.result", "maxconf.upstream.calls has no label result"),
    Mistake("infra/alerts.yaml", 'Properties.system) == "pexip"', 'Properties.system) == "pexipp"', "pexipp is no system"),
    Mistake("infra/metrics.json", '"maxconf.pool.poison"', '"maxconf.pool.poisoned"', "maxconf.pool.poison is no metric"),
    Mistake(
        "infra/alerts.yaml",
        '      | where Name == "maxconf.pool.refusals" and tostring(Properties.slot) == "production"',
        '      | where Name == "maxconf.pool.refusals"',
        "refusals is not restricted to production",
    ),
    Mistake("infra/alerts.yaml", "summarize Reports = count()", "summarize Reports = count(", "parentheses"),
    Mistake("infra/alerts.yaml", "function_room_create", "function_room_make", "function_room_make is no function"),
    Mistake(
        "infra/metrics.json",
        '"maxconf.breaker.open": {',
        '"maxconf.breaker.half_open": { "kind": "gauge", "labels": [] },\n  "maxconf.breaker.open": {',
        "no alert or panel uses maxconf.breaker.half_open",
    ),
)
def queries(tree):
    asked_for = set()
    for rule in alert_rules(tree)["logAlerts"]:
        name, query = rule["name"], rule["query"]
        yield from (f"{name}: {fault}" for fault in faults_of(query, tree))
        asked_for |= metrics_in(query)
        if metrics_in(query) and query.count('tostring(Properties.slot) == "production"') != query.count("AppMetrics"):
            yield f"{name} is not restricted to production"
    for _, query in panels(tree):
        asked_for |= metrics_in(query)
    unused = metrics(tree).keys() - asked_for
    yield from (f"no alert or panel uses {metric}; remove it from metrics.json" for metric in sorted(unused))


def metrics_in(query):
    return set(re.findall(r'"(maxconf\.[\w.]+)"', query))


def faults_of(query, tree):
    """Names in a query that do not exist."""
    known = metrics(tree)
    if query.count("(") != query.count(")"):
        yield "parentheses do not match"
    if not re.search(rf"\b({'|'.join(TABLES)})\b", query):
        yield "queries no known table"
    for function in re.findall(r'"(function_\w+)"', query):
        if not tree.path(function).is_dir():
            yield f"{function} is no function"
    names = metrics_in(query)
    yield from (f"{metric} is no metric" for metric in sorted(names - known.keys()))
    labels = {label for metric in names & known.keys() for label in known[metric]["labels"]}
    if labels:
        for label in sorted(set(re.findall(r"Properties\.(\w+)", query)) - labels):
            yield f"{' or '.join(sorted(names))} has no label {label}"
    for metric in names & known.keys():
        for label, values in known[metric].get("values", {}).items():
            for found in re.findall(rf'Properties\.{label}\) (?:==|!=|!?in) (\(.*?\)|"\w+")', query):
                yield from (f"{value} is no {label}" for value in re.findall(r'"(\w+)"', found) if value not in values)


def panels(tree):
    """Title and query of each chart and table of the dashboard."""
    items = json.loads(tree.text("infra/workbook.json"))["items"]
    return [(item["name"], item["content"]["query"]) for item in items if item["type"] == 3]


@check(
    "the dashboard queries metrics, tables, labels and log fields that exist",
    Mistake("infra/workbook.json", "maxconf.pool.swept", "maxconf.pool.sweeped", "maxconf.pool.sweeped is no metric"),
    Mistake("infra/workbook.json", "AppRequests", "AppReqests", "queries no known table"),
    Mistake("infra/workbook.json", " / sum(ItemCount)", "", "is a histogram, to be shown by sum(Sum) / sum(ItemCount)"),
    Mistake("infra/metrics.json", '.owed": {"kind":"gauge"', '.owed": {"kind":"histogram"', "maxconf.pool.owed is a histogram"),
    Mistake("infra/workbook.json", "Properties.outcome", "Properties.result", "maxconf.upstream.calls has no label result"),
    Mistake("infra/workbook.json", "max(Max)", "sum(Sum)", "maxconf.pool.queue_messages is a gauge"),
    Mistake("infra/workbook.json", "function_room_create", "function_room_make", "function_room_make is no function"),
    Mistake("infra/workbook.json", "Line.cause", "Line.causes", "causes is no field of the log"),
    Mistake("infra/workbook.json", '== \\"request\\"', '== \\"requests\\"', "requests is no event of the log"),
    Mistake("infra/workbook.json", '\\"{Slot}\\"', '\\"production\\"', "is not restricted to the chosen slot"),
    Mistake("infra/workbook.json", "{Time:grain}", "{Range:grain}", "Range is no parameter"),
    Mistake("infra/logs.md", "| `cause` |", "| `causes` |", "cause is no field of the log"),
    Mistake("infra/modules/workbook.bicep", "'<workspace>'", "'<work-space>'", "the dashboard is not bound to the workspace"),
)
def dashboard(tree):
    items = json.loads(tree.text("infra/workbook.json"))["items"]
    declared = {one["name"] for item in items if item["type"] == 9 for one in item["content"]["parameters"]}
    known, (fields, events) = metrics(tree), described_log(tree)
    for name, query in panels(tree):
        yield from (f"{name}: {fault}" for fault in faults_of(query, tree))
        for metric in sorted(metrics_in(query) & known.keys()):
            kind = known[metric]["kind"]
            if not any(shown in query for shown in SHOWN_BY[kind]):
                yield f"{name}: {metric} is a {kind}, to be shown by {' or '.join(SHOWN_BY[kind])}"
        if not re.search(r'slot\) == "{Slot}"|AppRoleName endswith "-{Slot}"', query):
            yield f"{name} is not restricted to the chosen slot"
        yield from (f"{name}: {one} is no parameter" for one in set(re.findall(r"{(\w+)", query)) - declared)
        yield from (f"{name}: {one} is no field of the log" for one in set(re.findall(r"Line\.(\w+)", query)) - fields)
        for event in re.findall(r'Line\.(?:message|event)\) == "(.*?)"', query):
            if event not in events:
                yield f"{name}: {event} is no event of the log"
    for environment, deployment in tree.environments.items():
        [workbook] = deployment.of_type("Microsoft.Insights/workbooks")
        if json.loads(workbook.properties["serializedData"])["fallbackResourceIds"] != [workbook.properties["sourceId"]]:
            yield f"{environment}: the dashboard is not bound to the workspace"


# The meaningful columns of AppMetrics for each kind of metric. A histogram arrives without its buckets.
SHOWN_BY = {
    "gauge": ("max(Max)", "min(Min)"),
    "counter": ("sum(Sum)",),
    "histogram": ("sum(Sum) / sum(ItemCount)",),
}


def described_log(tree):
    """Log fields and events of infra/logs.md, and those of the audit trail in infra/docs/audit.md."""
    audit = tree.text("infra/docs/audit.md").partition("<!-- audit:begin -->")[2].partition("<!-- audit:end -->")[0]
    rows = re.findall(r"^\| (.*?) \|", tree.text("infra/logs.md") + audit, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}, {row.strip("`") for row in rows}


@check(
    "every required alert exists, has recipients and suitable limits",
    Mistake("infra/alerts.yaml", "  - name: sweep-capped", "  - name: sweep-limited", "sweep-capped"),
    Mistake("infra/alerts.yaml", "severity: 1", "severity: 4", "pool-empty calls nobody out"),
    Mistake(
        "infra/alerts.yaml",
        "no Conferencing Node asks for one\n    severity: 1",
        "no Conferencing Node asks for one\n    severity: 2",
        "nodes-do-not-ask calls nobody out",
    ),
    Mistake("infra/alerts.yaml", "  - name: policy-slow", "  - name: policy-late", "no alert policy-slow"),
    Mistake("infra/alerts.yaml", "Rooms < 5", "Rooms < 50", "pool-low"),
    Mistake("infra/prod.bicepparam", "param instances = 2", "param instances = 3", "restarts is raised by a deployment"),
    Mistake("infra/alerts.yaml", ", Microsoft.Web/sites/slotsswap/action]", "]", "swapped does not look at"),
    Mistake("infra/alerts.yaml", ", Microsoft.Web/sites/slots/config/write]", "]", "settings-changed does not look at"),
    Mistake("infra/modules/alerts.bicep", "    source: vaultId\n", "    source: vaultIds[0]\n", "before a secret of kvmaxconf"),
    Mistake("infra/modules/alerts.bicep", "    actions: { actionGroups: [actionGroupId] }", "", "has no recipient"),
    Mistake(
        "infra/modules/alerts.bicep", "SSLCertRemainingLifetimeCheck: 30", "SSLCertRemainingLifetimeCheck: 1", "certificate"
    ),
)
def complete(tree):
    rules = alert_rules(tree)
    names = [rule["name"] for rule in rules["logAlerts"] + rules["activityAlerts"]]
    yield from (f"no alert {name}" for name in WANTED if name not in names)
    for rule in rules["logAlerts"]:
        if rule["name"] in CALLS_OUT and rule["severity"] > 1:
            yield f"{rule['name']} calls nobody out: its severity is above 1"
    for environment, deployment in tree.environments.items():
        production = settings_of(deployment)["production"]
        if limit(rules, "pool-low", r"Rooms < (\d+)") > int(production["POOL_TARGET_SIZE"]) // 2:
            yield f"{environment}: pool-low is raised for a pool of normal size"
        [plan] = deployment.of_type("Microsoft.Web/serverfarms")
        # Settings, and then a swap, start each instance twice.
        if limit(rules, "restarts", r"Starts > (\d+)") < 4 * plan.body["sku"]["capacity"]:
            yield f"{environment}: restarts is raised by a deployment of settings and a swap"
        for kind in ("scheduledQueryRules", "activityLogAlerts", "metricAlerts"):
            for rule in deployment.of_type(f"Microsoft.Insights/{kind}"):
                if not rule.properties.get("actions"):
                    yield f"{environment}: {rule.name} has no recipient"
        [outside] = deployment.of_type("Microsoft.Insights/webtests")
        if outside.properties["ValidationRules"].get("SSLCertRemainingLifetimeCheck", 0) < 14:
            yield f"{environment}: no alert two weeks before the gateway's certificate expires"
        watched = {
            expiry.parent.properties["source"]
            for expiry in deployment.of_type("Microsoft.EventGrid/systemTopics/eventSubscriptions")
            if "Microsoft.KeyVault.SecretNearExpiry" in expiry.properties["filter"]["includedEventTypes"]
        }
        for vault in deployment.of_type("Microsoft.KeyVault/vaults"):
            if vault.id not in watched:
                yield f"{environment}: no alert before a secret of {vault.name} expires"
        noticed = {}
        for rule in deployment.of_type("Microsoft.Insights/activityLogAlerts"):
            [conditions] = [part["anyOf"] for part in rule.properties["condition"]["allOf"] if "anyOf" in part]
            noticed[rule.name.split("-", 2)[2]] = {condition["equals"] for condition in conditions}
        for name, operations in ACTIVITIES.items():
            for operation in sorted(operations - noticed.get(name, set())):
                yield f"{environment}: {name} does not look at {operation}"


def limit(rules, name, pattern):
    [query] = [rule["query"] for rule in rules["logAlerts"] if rule["name"] == name]
    return int(re.search(pattern, query)[1])


# What Azure records of a swap, by the side from which it was begun, and of settings.
ACTIVITIES = {
    "swapped": {"Microsoft.Web/sites/slotsswap/action", "Microsoft.Web/sites/slots/slotsswap/action"},
    "swap-failed": {"Microsoft.Web/sites/slotsswap/action", "Microsoft.Web/sites/slots/slotsswap/action"},
    "settings-changed": {"Microsoft.Web/sites/config/write", "Microsoft.Web/sites/slots/config/write"},
}

WANTED = (
    "no-dial-out pool-low pool-empty pool-no-data direct-creates errors slow pexip-failing sweep-capped poison "
    "policy-failing policy-slow nodes-do-not-ask rooms-near-maximum swapped swap-failed deployed"
).split()
CALLS_OUT = ("no-dial-out", "pool-empty", "refusals", "errors", "pexip-failing", "policy-failing", "nodes-do-not-ask")


@check(
    "the runbook has a section for each alert, with three things to do, and its index names each with its severity",
    Mistake("infra/docs/incidents.md", "#### `poison`", "#### `poisoned`", "no section for the alert poison"),
    Mistake("infra/alerts.yaml", "  - name: destroyed", "  - name: scorched", "no section for the alert scorched"),
    Mistake(
        "infra/docs/incidents.md",
        "3. Deployed in the last hour?",
        "4. Deployed in the last hour?",
        "pool-empty does not name three things to do",
    ),
    Mistake("infra/README.md", "[`poison`](docs/incidents.md#poison) · ", "", "the index does not name poison once"),
    Mistake("infra/alerts.yaml", "    severity: 3\n", "    severity: 2\n", "the index has instead-of-pool under 3, not 2"),
)
def runbook_sections(tree):
    page = "infra/docs/incidents.md"
    rules = alert_rules(tree)
    severities = {rule["name"]: rule["severity"] for rule in rules["logAlerts"]}
    names = severities.keys() | {rule["name"] for rule in rules["activityAlerts"]}
    # Alerts in the template name their section in their description.
    names |= set(re.findall(r"infra/docs/incidents\.md, ([\w-]+)'", tree.text("infra/modules/alerts.bicep")))
    parts = re.split(r"^#### `([\w-]+)`.*$", tree.text(page), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2]))
    yield from (f"{page} has no section for the alert {name}" for name in sorted(names - sections.keys()))
    yield from (f"{page} has a section for {name}, which is no alert" for name in sorted(sections.keys() - names))
    for name in sorted(names & sections.keys()):
        steps = re.findall(r"^\d\. ", re.split(r"^#{1,4} ", sections[name], flags=re.MULTILINE)[0], re.MULTILINE)
        if steps[:3] != ["1. ", "2. ", "3. "]:
            yield f"{page}: {name} does not name three things to do"
    index = tree.text("infra/README.md").split("| Severity |")[1].split("\n\n")[0]
    listed = [(int(row[2]), name) for row in index.splitlines() for name in re.findall(r"`([\w-]+)`", row)]
    for name in sorted(names):
        found = [severity for severity, listed_name in listed if listed_name == name]
        if len(found) != 1:
            yield f"infra/README.md: the index does not name {name} once"
        elif found[0] != severities.get(name, found[0]):
            yield f"infra/README.md: the index has {name} under {found[0]}, not {severities[name]}"


# The runbook: its index, and a page for each reader.
PAGES = ("README.md", "docs/deploying.md", "docs/operating.md", "docs/incidents.md", "docs/instant-rooms.md", "docs/moving-over.md")


@check(
    "the runbook names files, settings, variables and sections that exist",
    Mistake("infra/docs/incidents.md", "](#rollback)", "](#roll-back)", "#roll-back"),
    Mistake("infra/README.md", "](threat-model.md)", "](threats.md)", "there is no threats.md"),
    Mistake("infra/README.md", "`infra/deploy", "`infra/deploi", "infra/deploi"),
    Mistake("infra/test.bicepparam", "PEXIP_NETWORK_ID", "PEXIP_VNET_ID", "PEXIP_VNET_ID"),
)
def references(tree):
    for name in PAGES:
        page, path = tree.text(f"infra/{name}"), tree.path(f"infra/{name}")
        for link, anchor in re.findall(r"\]\(([\w./-]*)(#[\w-]+)?\)", page):
            target = path.parent / link if link else path
            if not target.exists():
                yield f"infra/{name}: there is no {link}"
            elif anchor and anchor[1:] not in anchors(target.read_text()):
                yield f"infra/{name}: no section {link}{anchor}"
        for file in set(re.findall(r"`((?:infra|\.github|tests)/[\w./-]+)", page)):
            if not tree.path(file).exists():
                yield f"infra/{name}: there is no {file}"
    values = tree.text("infra/docs/deploying.md")
    for path in tree.files("infra/*.bicepparam"):
        for variable in re.findall(r"readEnvironmentVariable\('(\w+)'", path.read_text()):
            if f"`{variable}`" not in values:
                yield f"infra/docs/deploying.md does not say what {variable} is"


def anchors(page):
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
