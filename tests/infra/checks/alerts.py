"""Each alert's query, run on rows that must raise it and on rows that must not: alerts.yaml beside this folder has them."""

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import duckdb
import duckdb_kql.engine
import yaml

from checks.operations import alert_rules, described_log, metrics
from harness import Mistake, check

ROWS = "tests/infra/alerts.yaml"
# The columns of Azure's tables that the queries may use.
# https://learn.microsoft.com/azure/azure-monitor/reference/tables/appmetrics, and the pages beside it.
TABLES = {
    "AppMetrics": {
        "TimeGenerated": "TIMESTAMP",
        "Name": "VARCHAR",
        "Sum": "DOUBLE",
        "Min": "DOUBLE",
        "Max": "DOUBLE",
        "ItemCount": "BIGINT",
        "Properties": "JSON",
    },
    "AppRequests": {
        "TimeGenerated": "TIMESTAMP",
        "Name": "VARCHAR",
        "AppRoleName": "VARCHAR",
        "ResultCode": "VARCHAR",
        "DurationMs": "DOUBLE",
        "Properties": "JSON",
    },
    "FunctionAppLogs": {
        "TimeGenerated": "TIMESTAMP",
        "_ResourceId": "VARCHAR",
        "HostInstanceId": "VARCHAR",
        "Message": "VARCHAR",
    },
}
SITE = "/subscriptions/0/resourcegroups/rg/providers/microsoft.web/sites/fa-maxconf-prod"
NOW = datetime(2026, 11, 28, 12, 0)
OPEN = "maxconf.service.open"
# Alerts that a Pexip raises that is switched off out of hours, unless they look at the hours.
BY_PEXIP = ("pool-empty", "pool-low", "errors", "slow", "pexip-failing")


@check(
    "each alert is raised by the rows that must raise it, and by no others",
    Mistake("infra/alerts.yaml", "messages == 0 or ready == 0", "messages == 0", "pool-empty is not raised when all rooms"),
    Mistake("infra/alerts.yaml", "      | summarize min(Min));", "      | summarize max(Max));", "pool-empty is raised when Pexip"),
    Mistake("infra/alerts.yaml", " or (Direct >= 3 and Pool == 0)", "", "pool-empty is not raised when the messages name"),
    Mistake("infra/alerts.yaml", "instant != 1 and (messages", "(messages", "pool-empty is raised when instant rooms take"),
    Mistake("infra/alerts.yaml", "open != 0 and target != 0\n", "open != 0\n", "pool-empty is raised when there is no pool"),
    Mistake("infra/alerts.yaml", "target != 0 and instant != 1 and (Rooms", "(Rooms", "pool-low is raised when every room"),
    Mistake("infra/alerts.yaml", "target > 0 and Rooms >= 5", "Rooms >= 5", "instead-of-pool is raised when every room"),
    Mistake("infra/alerts.yaml", ' and tostring(Properties.route) !startswith "/policy"', "", "errors is not raised when creates fail while"),
    Mistake("infra/alerts.yaml", "toint(Properties.status) >= 500)\n", "toint(Properties.status) == 500)\n", "policy-failing is not raised"),
    Mistake("infra/alerts.yaml", "countif(DurationMs > 1000)", "countif(DurationMs > 2000)", "policy-slow is not raised when 1 of 20"),
    Mistake("infra/alerts.yaml", '      | where tostring(Properties.valid) == "now"\n', "", "nodes-do-not-ask is raised when all rooms are for"),
    Mistake("infra/alerts.yaml", "coalesce(LookUps, 0.0) == 0", "LookUps > 0", "nodes-do-not-ask is not raised when citizens"),
    Mistake("infra/alerts.yaml", ' and Name !has "policy"', "", "gateway-refusals is raised when nodes"),
    Mistake("infra/alerts.yaml", '("service_closed", ', '(', "refusals is raised when Pexip is closed"),
    Mistake(
        "infra/alerts.yaml",
        "summarize Starts = countif(",
        "summarize GivenUp = 0, Starts = countif(",
        "restarts: the query cannot be evaluated",
    ),
    Mistake("infra/alerts.yaml", " or GivenUp > 0", "", "restarts is not raised when"),
    Mistake("infra/alerts.yaml", 'where _ResourceId !has "slots"', "where true", "restarts is raised by the slot staging"),
    Mistake("infra/alerts.yaml", "Failed >= 5 and Failed > 0.05 * All", "Failed > 0.05 * All", "errors is raised when"),
    Mistake("infra/alerts.yaml", "    window: PT15M\n", "    window: PT5M\n", "pool-no-data is raised when the timer"),
    Mistake("infra/alerts.yaml", "    periods: 3\n", "    periods: 1\n", "pool-low is raised when"),
    Mistake("infra/alerts.yaml", "  - name: poison\n", "  - name: poisoned\n", f"{ROWS}: no rows raise poisoned"),
    Mistake(ROWS, "state=ready: 0", "state=ready_to_go: 0", "maxconf.pool.rooms has no state ready_to_go"),
    Mistake(ROWS, "event: listening", "event: listens", "listens is no event of the log"),
    Mistake("infra/metrics.json", "maxconf.pool.poison", "maxconf.pool.poisoned", "maxconf.pool.poison is no metric"),
)
def raised(tree):
    cases = yaml.safe_load(tree.text(ROWS))
    rules = {rule["name"]: rule for rule in alert_rules(tree)["logAlerts"]}
    known = Known(
        metrics(tree),
        events=described_log(tree)[1],
        functions={path.name for path in tree.files("function_*")},
        routes=set(json.loads(tree.text("infra/openapi.json"))["paths"]),
        codes=set(re.findall(r'^    \w+ [A-Z_]+ "(\w+)"', tree.text("src/http/problem.rs"), re.MULTILINE)),
    )
    yield from (f"{ROWS} has rows for {name}, which is no alert" for name in sorted(cases.keys() - rules.keys()))
    for name, rule in rules.items():
        yield from unfaithful_queries(name, rule, cases.get(name, {}), known)


@dataclass(frozen=True)
class Known:
    """What the rows may name."""

    metrics: dict
    events: set
    functions: set
    routes: set
    codes: set


def unfaithful_queries(name, rule, cases, known):
    """What is wrong with an alert, as far as its rows show."""
    if not cases.get("raised"):
        yield f"{ROWS}: no rows raise {name}"
    if not cases.get("quiet"):
        yield f"{ROWS}: no rows leave {name} quiet"
    by_hours = OPEN in rule["query"]
    if name in BY_PEXIP and not by_hours:
        yield f"{name} is raised by a Pexip that is switched off out of hours"
    for must, case in [(must, case) for must in ("raised", "quiet") for case in cases.get(must, ())]:
        wrong = list(wrong_rows(case, known))
        yield from (f"{ROWS}: {name}, {case['when']}: {fault}" for fault in wrong)
        if wrong:
            continue
        try:
            if is_raised(rule, case) != (must == "raised"):
                yield f"{name} is {'not raised' if must == 'raised' else 'raised'} when {case['when']}"
            if must == "raised" and name != "pool-no-data" and is_raised(rule, case, slot="staging"):
                yield f"{name} is raised by the slot staging when {case['when']}"
            if must == "raised" and by_hours and not case.get("at_any_hour"):
                closed = case | {"metrics": case.get("metrics", {}) | {OPEN: 0}}
                if is_raised(rule, closed):
                    yield f"{name} is raised out of hours when {case['when']}"
        except (duckdb_kql.KqlError, duckdb.Error) as error:
            yield f"{name}: the query cannot be evaluated: {error}"
            return


def is_raised(rule, case, slot="production"):
    """Whether the query returns rows in each of the rule's periods, at the end of the case."""
    every, window = minutes(rule["every"]), minutes(rule["window"])
    length = window + (rule["periods"] - 1) * every
    rows = [
        (table, age, columns)
        for age in range(length)
        for table, columns in [*metric_rows(case, age, slot), *other_rows(case, age, slot)]
    ]
    for period in range(rule["periods"]):
        seen = [(table, age, columns) for table, age, columns in rows if 0 <= age - period * every < window]
        if not returns_rows(rule["query"], json.dumps(seen)):
            return False
    return True


def minutes(duration):
    return int(re.fullmatch(r"PT(\d+)M", duration)[1])


def metric_rows(case, age, slot):
    for series, values in case.get("metrics", {}).items():
        value = values if not isinstance(values, list) else values[-1 - age] if age < len(values) else None
        if value is not None:
            name, labels = name_and_labels(series)
            yield "AppMetrics", {
                "Name": name,
                # The exporter sends one value, and Azure makes these of it.
                **dict.fromkeys(("Sum", "Min", "Max"), value),
                "ItemCount": 1,
                "Properties": {"service.name": "maxconf", **labels, "slot": slot},
            }


def name_and_labels(series):
    name, *labels = series.split()
    return name, dict(label.split("=", 1) for label in labels)


def other_rows(case, age, slot):
    for row in case.get("rows", ()):
        if age not in row.get("minutes", [age]):
            continue
        for _ in range(row.get("times", 1)):
            yield table_row(row, slot)


def table_row(row, slot):
    """A row of another table, by the first member of its description."""
    match next(iter(row)):
        case "event" | "host" as source:
            line = {"level": "INFO", "target": "maxconf", "environment": "production", "slot": slot, "message": row[source]}
            return "FunctionAppLogs", {
                "_ResourceId": SITE if slot == "production" else f"{SITE}/slots/{slot}",
                "HostInstanceId": row.get("instance", "a"),
                "Message": json.dumps(line) if source == "event" else row[source],
            }
        case "function":
            return "AppRequests", {
                "Name": row["function"],
                "AppRoleName": f"fa-maxconf-prod-{slot}",
                "ResultCode": "200",
                "DurationMs": row["duration_ms"],
                "Properties": {},
            }
        case "gateway":
            return "AppRequests", {
                "Name": row["gateway"],
                "AppRoleName": "apim Canada Central",
                "ResultCode": str(row["status"]),
                "DurationMs": 5,
                "Properties": {"API Name": f"maxconf-{slot}", "Operation Name": row["operation"]},
            }


@cache
def database():
    connection = duckdb_kql.engine.connect()
    connection.sql("SET threads = 1")
    for table, columns in TABLES.items():
        connection.sql(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
    return connection


@cache
def translated(query):
    return str(duckdb_kql.to_sql(query, schema=duckdb_kql.engine.schema(database())))


@cache
def returns_rows(query, rows):
    """Whether the query returns anything for these rows, given as JSON: table, age in minutes and columns of each."""
    tables = {table: [] for table in TABLES}
    for table, age, columns in json.loads(rows):
        tables[table].append({"TimeGenerated": (NOW - timedelta(minutes=age)).isoformat()} | columns)
    for table, written in tables.items():
        database().execute(f"DELETE FROM {table}")
        database().execute(
            f"INSERT INTO {table} SELECT unnest(from_json($1::JSON, $2), max_depth := 2)",
            [json.dumps(written), json.dumps([TABLES[table]])],
        )
    return bool(database().execute(translated(query)).fetchall())


def wrong_rows(case, known):
    """Rows that the service, its host or the gateway cannot write."""
    for series in case.get("metrics", {}):
        name, labels = name_and_labels(series)
        about = known.metrics.get(name)
        if about is None:
            yield f"{name} is no metric"
            continue
        if about["kind"] == "histogram":
            yield f"{name} is a histogram, whose rows are not known here"
        if labels.keys() != set(about["labels"]) - {"slot"}:
            yield f"{name} has other labels than {' '.join(labels) or 'none'}"
        for label, value in labels.items():
            if not is_value(label, value, about.get("values", {}), known):
                yield f"{name} has no {label} {value}"
    for row in case.get("rows", ()):
        if "event" in row and row["event"] not in known.events:
            yield f"{row['event']} is no event of the log"
        if "function" in row and row["function"] not in known.functions:
            yield f"{row['function']} is no function"


def is_value(label, value, values, known):
    if label in values:
        return value in values[label]
    match label:
        case "status":
            return re.fullmatch(r"[1-5]\d\d", value) is not None
        case "route":
            return value in known.routes
        case "code":
            return value in known.codes
    return False
