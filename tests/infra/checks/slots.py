"""The slots of each environment: the same but for what must differ, and everything that the code reads is set."""

import re

import bicep
from harness import ENVIRONMENTS, EXAMPLE_VALUES, Mistake, check

# Settings of the code that no slot sets, and why.
NOT_SET = {
    "FUNCTIONS_CUSTOMHANDLER_PORT": "the Functions host sets it",
    "LISTEN_ADDRESS": "for containers only",
    "PoolStorage": "a connection string holds a key",
    "PoolStorage__accountName": "PoolStorage__queueServiceUri says more",
    "AzureWebJobsStorage": "a connection string holds a key",
    "AzureWebJobsStorage__queueServiceUri": "the host works it out from the account's name",
    "AzureWebJobsStorage__blobServiceUri": "the host works it out from the account's name",
}
# Settings that the code does not read, and what reads them.
OF_OTHERS = {
    "FUNCTIONS_EXTENSION_VERSION": "Functions host",
    "FUNCTIONS_WORKER_RUNTIME": "Functions host",
    "AzureWebJobsStorage__credential": "Functions host",
    "AzureWebJobsDisableHomepage": "Functions host",
    "AzureFunctionsWebHost__hostid": "Functions host",
    "AzureWebJobs.function_pool_maintenance.Disabled": "Functions host",
    "WEBSITE_RUN_FROM_PACKAGE": "App Service",
    "WEBSITE_SWAP_WARMUP_PING_PATH": "App Service",
    "WEBSITE_SWAP_WARMUP_PING_STATUSES": "App Service",
    "WEBSITE_WARMUP_PATH": "App Service",
    "WEBSITE_OVERRIDE_STICKY_DIAGNOSTICS_SETTINGS": "App Service",
    "WEBSITE_CLOUD_ROLENAME": "Application Insights",
}
# Settings that must stay with their slot.
MUST_STICK = (
    "POOL_QUEUE_NAME ROOM_NAME_PREFIX INSTANT_ROOM_NAME_PREFIX INSTANT_ROOM_DIAL_OUT ROOM_SOURCE POOL_EMPTY POOL_TARGET_SIZE POOL_MAX_ROOMS AzureFunctionsWebHost__hostid ROOM_HOST_PIN "
    "AzureWebJobsStorage__accountName AzureWebJobsStorage__clientId PoolStorage__clientId "
    "ROOM_AUTOMATIC_PARTICIPANTS ROOM_PROPERTIES ROOM_TAG_URL ROOM_TAG_HOSTS UUI_DATA_FORMAT MAXCONF_ENVIRONMENT MAXCONF_SLOT PEXIP_MANAGEMENT_URL PEXIP_USERNAME PEXIP_PASSWORD "
    "PEXIP_OAUTH_CLIENT_ID PEXIP_OAUTH_PRIVATE_KEY "
    "PEXIP_REQUESTS_PER_MINUTE SERVICE_HOURS SERVICE_CLOSED_DATES PEXIP_EVENT_USERNAME PEXIP_EVENT_PASSWORD PEXIP_POLICY_USERNAME PEXIP_POLICY_PASSWORD ENTRA_TENANT_ID ENTRA_AUDIENCE "
    "ENTRA_CREATE_ROLE ENTRA_DELETE_ROLE ENTRA_READ_ROLE ENTRA_ALLOWED_CLIENT_IDS GENESYS_API_URL "
    "GENESYS_ORGANIZATION_ID GENESYS_OAUTH_CLIENT_IDS GENESYS_DIVISION_IDS AUDIT_HASH_KEY "
    "PoolStorage__queueServiceUri PoolStorage__blobServiceUri RECORDS_CONTAINER RECORDS_HASH_KEY "
    "APPLICATIONINSIGHTS_CONNECTION_STRING OTEL_EXPORTER_OTLP_ENDPOINT LOG_LEVEL "
    "WEBSITE_CLOUD_ROLENAME AzureWebJobs.function_pool_maintenance.Disabled"
).split()
# The first line of a slot in the template.
SLOT = "  name: slot.name\n  location: location\n  kind: 'functionapp,linux'\n"
TIMER_OFF = "AzureWebJobs.function_pool_maintenance.Disabled"
# Calls per minute that the management node allows for all instances of all slots.
NODE_BUDGET = 900


def settings_of(deployment):
    """The settings of each slot by its name."""
    slots = {}
    for config in deployment.of_type("Microsoft.Web/sites/config") + deployment.of_type("Microsoft.Web/sites/slots/config"):
        if config.body["name"] == "appsettings":
            owner = config.parent
            slots["production" if owner.parent is None else owner.body["name"]] = config.properties
    return slots


def settings_of_code(tree):
    table = tree.text("infra/docs/settings.md").split("<!-- settings:begin -->")[1].split("<!-- settings:end -->")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.*?) \|", table, re.MULTILINE))


@check(
    "every slot sets every setting of the code and no other",
    Mistake("infra/modules/function-app.bicep", "  POOL_LEASE_SECONDS: '60'\n", "", "POOL_LEASE_SECONDS is not set"),
    Mistake("infra/modules/function-app.bicep", "POOL_LEASE_SECONDS", "POOL_LEASE_SECOND", "POOL_LEASE_SECOND is unknown"),
    Mistake(
        "infra/modules/function-app.bicep",
        "  FUNCTIONS_WORKER_RUNTIME: 'custom'\n",
        "",
        "FUNCTIONS_WORKER_RUNTIME is not set",
    ),
    Mistake("infra/docs/settings.md", "| `POOL_PREFETCH` |", "| `POOL_PREFETCH_ROOMS` |", "POOL_PREFETCH_ROOMS is not set"),
    Mistake(
        "infra/modules/function-app.bicep",
        "PEXIP_MANAGEMENT_URL: pexip.managementUrl",
        "PEXIP_MANAGEMENT_URL: ''",
        "PEXIP_MANAGEMENT_URL is required",
    ),
)
def complete(tree):
    of_code = settings_of_code(tree)
    expected = (of_code.keys() - NOT_SET.keys()) | OF_OTHERS.keys()
    for environment, deployment in tree.environments.items():
        slots = settings_of(deployment)
        if len(slots) != 2:
            yield f"{environment}: {len(slots)} slots, not 2"
        for slot, settings in slots.items():
            yield from (f"{environment}/{slot}: {name} is not set" for name in sorted(expected - settings.keys()))
            yield from (f"{environment}/{slot}: {name} is unknown" for name in sorted(settings.keys() - expected))
            for name, default in of_code.items():
                if settings.get(name) == "" and not default.startswith("none"):
                    yield f"{environment}/{slot}: {name} is required, and empty"


@check(
    "slots equal their site except for name and sticky settings",
    Mistake(
        "infra/modules/function-app.bicep",
        "map(items(stickySettings[0]), setting => setting.key)",
        "['POOL_QUEUE_NAME']",
        "ROOM_NAME_PREFIX does not stick",
    ),
    Mistake(
        "infra/modules/function-app.bicep",
        "union(platformSettings, stickySettings[index + 1])",
        "union(platformSettings, stickySettings[index + 1], { FUNCTIONS_EXTENSION_VERSION: '~3' })",
        "FUNCTIONS_EXTENSION_VERSION differs and does not stick",
    ),
    Mistake(
        "infra/modules/function-app.bicep",
        f"{SLOT}  identity: siteIdentities[index + 1]\n  properties: union(siteProperties, {{",
        f"{SLOT}  identity: siteIdentities[index + 1]\n  properties: union(siteProperties, {{ virtualNetworkSubnetId: ''",
        "is not like its site",
    ),
)
def alike(tree):
    for environment, deployment in tree.environments.items():
        [site] = deployment.of_type("Microsoft.Web/sites")
        for slot in deployment.of_type("Microsoft.Web/sites/slots"):
            if without_name(slot) != without_name(site):
                yield f"{environment}: slot {slot.name} is not like its site"
        [sticky] = [
            c.properties["appSettingNames"]
            for c in deployment.of_type("Microsoft.Web/sites/config")
            if c.body["name"] == "slotConfigNames"
        ]
        yield from (f"{environment}: {name} does not stick" for name in MUST_STICK if name not in sticky)
        slots = settings_of(deployment)
        production = slots["production"]
        for slot, settings in slots.items():
            yield from (f"{environment}/{slot}: {name} sticks and has no value" for name in sticky if name not in settings)
            for name in settings:
                if name not in sticky and settings[name] != production.get(name):
                    yield f"{environment}/{slot}: {name} differs and does not stick"


def without_name(site):
    """A site without what is its own: its name, and the identity that another check looks at."""
    properties = {key: value for key, value in site.properties.items() if key != "keyVaultReferenceIdentity"}
    own = ("name", "identity", "properties")
    return {key: value for key, value in site.body.items() if key not in own}, properties


@check(
    "each slot has an identity of its own, which reaches its own queues, vault and host's account, and shared records only",
    Mistake(
        "infra/modules/function-app.bicep",
        f"{SLOT}  identity: siteIdentities[index + 1]",
        f"{SLOT}  identity: siteIdentities[0]",
        "staging: has the identity id-maxconf-prod, not id-maxconf-prod-staging",
    ),
    Mistake(
        "infra/modules/function-app.bicep", "keyVaultReferenceIdentity: identityIds[index + 1]",
        "keyVaultReferenceIdentity: identityIds[0]", "reads secrets as id-maxconf-prod",
    ),
    Mistake(
        "infra/modules/function-app.bicep", "PoolStorage__clientId: identityClientIds[index]",
        "PoolStorage__clientId: identityClientIds[0]", "PoolStorage__clientId is not",
    ),
    Mistake(
        "infra/modules/storage.bicep", "    principalId: runtimePrincipalIds[allQueues[assignment.queue].slot]",
        "    principalId: runtimePrincipalIds[0]", "room-creation-queue-staging may be used by id-maxconf-prod",
    ),
    Mistake(
        "infra/main.bicep", "hostAccountNames: [for (slot, index) in slots: hostAccounts[index]",
        "hostAccountNames: [for (slot, index) in slots: hostAccounts[0]", "may not use stmaxhostuniquestring1",
    ),
    Mistake("infra/main.bicep", "slot.name == 'staging' ? identity", "slot.name == 'edge' ? identity", "may not use kvmaxconf"),
    Mistake(
        "infra/main.bicep", "vaultUris: [for (slot, index) in slots: vaults[index]",
        "vaultUris: [for (slot, index) in slots: vaults[0]", "reads the secrets of another vault",
    ),
)
def identities(tree):
    for environment, deployment in tree.environments.items():
        rights = {}
        for assignment in deployment.of_type("Microsoft.Authorization/roleAssignments"):
            rights.setdefault(assignment.properties["principalId"], set()).add(assignment.body["scope"].body["name"])
        slots = settings_of(deployment)
        sites = deployment.of_type("Microsoft.Web/sites") + deployment.of_type("Microsoft.Web/sites/slots")
        for site in sites:
            slot = "production" if site.parent is None else site.body["name"]
            settings = slots[slot]
            own = f"id-maxconf-{environment}" + ("" if slot == "production" else f"-{slot}")
            has = [identity.rsplit("/", 1)[1] for identity in site.body["identity"]["userAssignedIdentities"]]
            if has != [own]:
                yield f"{environment}/{slot}: has the identity {' and '.join(has)}, not {own}"
            reader = site.properties["keyVaultReferenceIdentity"].rsplit("/", 1)[1]
            if reader != own:
                yield f"{environment}/{slot}: reads secrets as {reader}"
            for name in ("PoolStorage__clientId", "AzureWebJobsStorage__clientId"):
                if settings[name] != f"<{own}.properties.clientId>":
                    yield f"{environment}/{slot}: {name} is not that of {own}"
            vaults = set(re.findall(r"SecretUri=<(\w+)\.", " ".join(map(str, settings.values()))))
            [vault] = vaults if len(vaults) == 1 else ["several vaults"]
            allowed = {
                *(settings["POOL_QUEUE_NAME"] + end for end in ("", "-ended", "-poison")),
                settings["RECORDS_CONTAINER"],
                settings["AzureWebJobsStorage__accountName"],
                vault,
            }
            # While staging has Production's identity, this reads its secrets.
            if slot == "production" and "staging" in slots:
                allowed.add(f"{vault}st")
            reached = rights.get(f"<{own}.properties.principalId>", set())
            if vault not in reached:
                yield f"{environment}/{slot}: reads the secrets of another vault than its own"
            yield from (f"{environment}/{slot}: {own} may not use {name}" for name in sorted(allowed - reached))
            yield from (f"{environment}/{slot}: {name} may be used by {own}" for name in sorted(reached - allowed))


@check(
    "a case names one of the hosts that were supplied, and URL and format fit",
    Mistake(
        "infra/modules/function-app.bicep", "ROOM_TAG_HOSTS: tagHosts", "ROOM_TAG_HOSTS: 'id'", "ROOM_TAG_HOSTS is 'id'"
    ),
    Mistake("infra/modules/function-app.bicep", "'host-and-id'", "'bytes'", "UUI_DATA_FORMAT is 'bytes'"),
    Mistake("infra/modules/function-app.bicep", "https://{host}.gov", "https://id.gov", "ROOM_TAG_URL is 'https://id.gov"),
)
def tags(tree):
    for environment, deployment in tree.environments.items():
        for slot, settings in settings_of(deployment).items():
            for name, pattern in {
                "ROOM_TAG_URL": r"https://\{host\}(\.[a-z0-9-]+)+/([^{}?#]*/)?",
                "ROOM_TAG_HOSTS": re.escape(EXAMPLE_VALUES["ROOM_TAG_HOSTS"]),
                "UUI_DATA_FORMAT": "host-and-id",
            }.items():
                if not re.fullmatch(pattern, settings[name]):
                    yield f"{environment}/{slot}: {name} is {settings[name]!r}"


@check(
    "queues, host ids, prefixes and the sweep are not shared between slots",
    Mistake(
        "infra/test.bicepparam", "room-creation-queue-edge", "room-creation-queue", "queue room-creation-queue is shared"
    ),
    Mistake("infra/test.bicepparam", "'vbv-e-'", "'vbv-t-'", "edge must not share production's prefix"),
    Mistake("infra/prod.bicepparam", "maintains: false", "maintains: true", "sweep rooms named vbv-"),
    Mistake("infra/prod.bicepparam", "maintains: true", "maintains: false", "no slot sweeps rooms named vbv-"),
    Mistake("infra/prod.bicepparam", "maxconf-prod-staging", "maxconf-prod", "host id maxconf-prod is shared"),
    Mistake(
        "infra/prod.bicepparam", "hostId: 'maxconf-prod'", "hostId: 'maxconf-production-of-the-room-api'", "more than 32"
    ),
    Mistake(
        "infra/prod.bicepparam",
        "prefix: 'vbv-'\n    instantPrefix: 'vbi-'\n    roomSource: 'pool'\n    poolEmpty: 'direct'\n    targetSize: 1\n",
        "prefix: 'vbv-s-'\n    instantPrefix: 'vbi-'\n    roomSource: 'pool'\n    poolEmpty: 'direct'\n    targetSize: 1\n",
        "staging must share production's prefix,",
    ),
    Mistake("infra/test.bicepparam", "'vbi-e-'", "'vbi-t-'", "edge must not share production's prefix of instant rooms"),
    Mistake(
        "infra/prod.bicepparam",
        "instantPrefix: 'vbi-'\n    roomSource: 'pool'\n    poolEmpty: 'direct'\n    targetSize: 1\n",
        "instantPrefix: 'vbi-s-'\n    roomSource: 'pool'\n    poolEmpty: 'direct'\n    targetSize: 1\n",
        "staging must share production's prefix of instant rooms",
    ),
    Mistake("infra/prod.bicepparam", "targetSize: 1\n", "targetSize: 2\n", "staging keeps 2"),
    Mistake("infra/test.bicepparam", "'room-records-edge'", "'room-records'", "edge must not share production's container"),
    Mistake(
        "infra/prod.bicepparam",
        "queue: 'room-creation-queue-staging'\n    records: 'room-records'",
        "queue: 'room-creation-queue-staging'\n    records: 'room-records-staging'",
        "staging must share production's container",
    ),
    Mistake(
        "infra/modules/storage.bicep", "  name: container\n", "  name: '${container}-x'\n", "container room-records is not made"
    ),
    Mistake(
        "infra/modules/storage.bicep",
        "suffix: '-ended'",
        "suffix: '-end'",
        "room-creation-queue-ended is not made",
    ),
)
def apart(tree):
    for environment, deployment in tree.environments.items():
        slots = settings_of(deployment)
        made = {q.body["name"] for q in deployment.of_type("Microsoft.Storage/storageAccounts/queueServices/queues")}
        yield from shared(environment, slots, "POOL_QUEUE_NAME", "queue")
        yield from shared(environment, slots, "AzureFunctionsWebHost__hostid", "host id")
        for slot, settings in slots.items():
            if len(settings["AzureFunctionsWebHost__hostid"]) > 32:
                yield f"{environment}/{slot}: the host id has more than 32 characters"
            for queue in (settings["POOL_QUEUE_NAME"] + end for end in ("", "-poison", "-ended")):
                if queue not in made:
                    yield f"{environment}/{slot}: queue {queue} is not made"
        for prefix in {settings["ROOM_NAME_PREFIX"] for settings in slots.values()}:
            sweepers = [
                s
                for s, settings in slots.items()
                if settings["ROOM_NAME_PREFIX"] == prefix and settings[TIMER_OFF] == "false"
            ]
            if not sweepers:
                yield f"{environment}: no slot sweeps rooms named {prefix}"
            elif len(sweepers) > 1:
                yield f"{environment}: {' and '.join(sweepers)} sweep rooms named {prefix}"
        for setting, what in (("ROOM_NAME_PREFIX", "prefix"), ("INSTANT_ROOM_NAME_PREFIX", "prefix of instant rooms")):
            same = len({settings[setting] for settings in slots.values()}) == 1
            if "edge" in slots and same:
                yield f"{environment}: edge must not share production's {what}: they are never swapped"
            if "staging" in slots and not same:
                yield f"{environment}: staging must share production's {what}, or a swap makes its rooms foreign"
        containers = deployment.of_type("Microsoft.Storage/storageAccounts/blobServices/containers")
        names = {container.body["name"] for container in containers}
        yield from (
            f"{environment}/{slot}: container {settings['RECORDS_CONTAINER']} is not made"
            for slot, settings in slots.items()
            if settings["RECORDS_CONTAINER"] not in names
        )
        same = len({settings["RECORDS_CONTAINER"] for settings in slots.values()}) == 1
        if "edge" in slots and same:
            yield f"{environment}: edge must not share production's container of the records"
        if "staging" in slots and not same:
            yield f"{environment}: staging must share production's container of the records, or a swap forgets claims"
        sizes = {"edge": "2", "staging": "1"}
        for slot, size in sizes.items():
            if slot in slots and slots[slot]["POOL_TARGET_SIZE"] != size:
                yield f"{environment}: {slot} keeps {slots[slot]['POOL_TARGET_SIZE']} ready rooms, not {size}"


def shared(environment, slots, name, what):
    values = [settings[name] for settings in slots.values()]
    yield from (f"{environment}: {what} {value} is shared" for value in sorted(set(values)) if values.count(value) > 1)


@check(
    "the sources of rooms exist, and a slot with instant rooms has what they need",
    Mistake("infra/test.bicepparam", "poolEmpty: 'direct'", "poolEmpty: 'wait'", "POOL_EMPTY is 'wait'"),
    Mistake("infra/modules/function-app.bicep", "slot.roomSource", "slot.name", "ROOM_SOURCE is 'edge'"),
    Mistake("infra/modules/function-app.bicep", "pexip.instantRoomDialOut", "''", "test/edge: has instant rooms, and INSTANT_ROOM_DIAL_OUT is empty"),
    Mistake("infra/modules/function-app.bicep", "PEXIP_POLICY_USERNAME: 'pexip-policy'", "PEXIP_POLICY_USERNAME: ''", "PEXIP_POLICY_USERNAME is empty"),
    Mistake(
        "infra/prod.bicepparam",
        "('INSTANT_ROOM_DIAL_OUT', '')",
        "('INSTANT_ROOM_DIAL_OUTS', '')",
        "prod/production: has instant rooms, and INSTANT_ROOM_DIAL_OUT is empty",
    ),
)
def sources(tree):
    for environment, deployment in tree.environments.items():
        for slot, settings in settings_of(deployment).items():
            for name, values in {"ROOM_SOURCE": ("pool", "instant"), "POOL_EMPTY": ("direct", "instant", "refuse")}.items():
                if settings[name] not in values:
                    yield f"{environment}/{slot}: {name} is {settings[name]!r}"
        # As they would be with instant rooms on, whatever they are now.
        for slot, settings in settings_of(evaluated(tree, environment, {"INSTANT_ROOM_DIAL_OUT": "sip:queue@sbc.example"})).items():
            for name in ("INSTANT_ROOM_DIAL_OUT", "PEXIP_POLICY_USERNAME", "PEXIP_POLICY_PASSWORD"):
                if not settings[name]:
                    yield f"{environment}/{slot}: has instant rooms, and {name} is empty"


def evaluated(tree, environment, values):
    return bicep.evaluate(tree.path(f"infra/{environment}.bicepparam"), EXAMPLE_VALUES | values)


@check(
    "all slots together stay within the management node's limit",
    Mistake("infra/prod.bicepparam", "pexipRequestsPerMinute: 100", "pexipRequestsPerMinute: 200", "1000 calls a minute"),
    Mistake(
        "infra/modules/function-app.bicep",
        "string(slot.pexipRequestsPerMinute / instances)",
        "string(slot.pexipRequestsPerMinute)",
        "calls a minute",
    ),
)
def budget(tree):
    for environment, deployment in tree.environments.items():
        [plan] = deployment.of_type("Microsoft.Web/serverfarms")
        instances = plan.body["sku"]["capacity"]
        calls = sum(instances * int(settings["PEXIP_REQUESTS_PER_MINUTE"]) for settings in settings_of(deployment).values())
        if calls > NODE_BUDGET:
            yield f"{environment}: {calls} calls a minute from {instances} instances, more than {NODE_BUDGET}"


@check(
    "a slot is warm, healthy and swappable only when the service itself answers 200",
    Mistake(
        "infra/modules/function-app.bicep",
        "WEBSITE_SWAP_WARMUP_PING_STATUSES: '200'",
        "WEBSITE_SWAP_WARMUP_PING_STATUSES: '200,404'",
        "WEBSITE_SWAP_WARMUP_PING_STATUSES",
    ),
    Mistake(
        "infra/modules/function-app.bicep",
        "healthCheckPath: '/health/live'",
        "healthCheckPath: '/health/ready'",
        "healthCheckPath",
    ),
    Mistake("infra/modules/function-app.bicep", "alwaysOn: true", "alwaysOn: false", "alwaysOn"),
    Mistake("infra/prod.bicepparam", "planSku = 'P1v3'", "planSku = 'S1'", "Premium v3"),
)
def warm(tree):
    for environment, deployment in tree.environments.items():
        for slot, settings in settings_of(deployment).items():
            for name, value in {
                "WEBSITE_SWAP_WARMUP_PING_PATH": "/health/live",
                "WEBSITE_SWAP_WARMUP_PING_STATUSES": "200",
                "WEBSITE_WARMUP_PATH": "/health/live",
            }.items():
                if settings.get(name) != value:
                    yield f"{environment}/{slot}: {name} is {settings.get(name)!r}, not {value!r}"
        for site in deployment.of_type("Microsoft.Web/sites") + deployment.of_type("Microsoft.Web/sites/slots"):
            config = site.properties["siteConfig"]
            for name, value in {"healthCheckPath": "/health/live", "alwaysOn": True, "linuxFxVersion": ""}.items():
                if config.get(name) != value:
                    yield f"{environment}: {site.name}: {name} is {config.get(name)!r}, not {value!r}"
            if not site.properties["virtualNetworkSubnetId"]:
                yield f"{environment}: {site.name} is not in the network"
        [plan] = deployment.of_type("Microsoft.Web/serverfarms")
        if not re.fullmatch(r"P\d+m?v3", plan.body["sku"]["name"]) or plan.body["kind"] != "linux":
            yield f"{environment}: the plan is not Premium v3 on Linux"


@check(
    "each slot authenticates at Pexip in one way, whichever it is, with a client or account of its own",
    Mistake("infra/prod.bicepparam", "PEXIP_OAUTH_CLIENT_ID_STAGING", "PEXIP_OAUTH_CLIENT_ID", "is shared"),
    Mistake("infra/test.bicepparam", "PEXIP_USERNAME_EDGE", "PEXIP_USERNAME", "is shared"),
    Mistake(
        "infra/modules/function-app.bicep",
        "PEXIP_USERNAME: slot.pexipOauthClientId == '' ? slot.pexipUsername : ''",
        "PEXIP_USERNAME: slot.pexipUsername",
        "OAuth2 and part of Basic",
    ),
    Mistake(
        "infra/modules/function-app.bicep",
        "PEXIP_OAUTH_PRIVATE_KEY: slot.pexipOauthClientId == '' ? '' : ",
        "PEXIP_OAUTH_PRIVATE_KEY: ",
        "Basic and part of OAuth2",
    ),
)
def ways(tree):
    oauth2, basic = ("PEXIP_OAUTH_CLIENT_ID", "PEXIP_OAUTH_PRIVATE_KEY"), ("PEXIP_USERNAME", "PEXIP_PASSWORD")
    for environment, client, deployment in ways_to_authenticate(tree):
        given, other, name = (oauth2, basic, "OAuth2") if client else (basic, oauth2, "Basic")
        yield from shared(environment, settings_of(deployment), given[0], given[0])
        for slot, settings in settings_of(deployment).items():
            if not all(settings[one] for one in given):
                yield f"{environment}/{slot}: {name} is not complete"
            if any(settings[one] for one in other):
                yield f"{environment}/{slot}: {name} and part of {'Basic' if client else 'OAuth2'}"


def ways_to_authenticate(tree):
    """Each environment as an OAuth2 client of Pexip, with and without a Basic account beside it, and with that alone."""
    for environment in ENVIRONMENTS:
        for client, username in (("client", "maxconf"), ("client", ""), ("", "maxconf")):
            values = EXAMPLE_VALUES | {"PEXIP_OAUTH_CLIENT_ID": client, "PEXIP_USERNAME": username}
            for other in ("EDGE", "STAGING"):
                values[f"PEXIP_OAUTH_CLIENT_ID_{other}"] = client and f"{client}-{other}"
                values[f"PEXIP_USERNAME_{other}"] = username and f"{username}-{other}"
            yield environment, client, bicep.evaluate(tree.path(f"infra/{environment}.bicepparam"), values)


# Secret settings whose value is no secret of the vault, and why.
NOT_IN_VAULT = {
    "OTEL_EXPORTER_OTLP_HEADERS": "no collector is set",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "the deployment knows it; its key allows only sending",
}


@check(
    "secrets come from the vault, the runbook lists them, and no file holds one",
    Mistake(
        "infra/modules/function-app.bicep",
        "'@Microsoft.KeyVault(SecretUri=${vaultUris[index]}secrets/pexip-oauth-key/)'",
        "'hunter2'",
        "PEXIP_OAUTH_PRIVATE_KEY is not a Key Vault reference",
    ),
    Mistake(
        "infra/modules/function-app.bicep",
        "AUDIT_HASH_KEY: '@Microsoft.KeyVault(SecretUri=${vaultUris[index]}secrets/audit-hash-key/)'",
        "AUDIT_HASH_KEY: 'hunter2'",
        "AUDIT_HASH_KEY is not a Key Vault reference",
    ),
    Mistake("infra/docs/settings.md", "| `POOL_EMPTY` | `direct` |  |", "| `POOL_EMPTY` | `direct` | yes |", "POOL_EMPTY is not"),
    Mistake("infra/docs/deploying.md", "| `audit-hash-key` |", "| `audit-key` |", "does not say what the secret audit-hash-key is"),
    Mistake("infra/docs/deploying.md", "| `audit-hash-key` |", "| `audit-key` |", "no setting refers to the secret audit-key"),
    Mistake(
        "infra/prod.bicepparam",
        "readEnvironmentVariable('PEXIP_MANAGEMENT_ADDRESS')",
        "'10.0.0.1'\n  password: 'hunter2'",
        "infra/prod.bicepparam holds a password",
    ),
)
def secrets(tree):
    table = tree.text("infra/docs/settings.md").split("<!-- settings:begin -->")[1].split("<!-- settings:end -->")[0]
    names = re.findall(r"^\| `([^`]+)` \| [^|]* \| yes \|", table, re.MULTILINE)
    referred = set()
    for environment, client, deployment in ways_to_authenticate(tree):
        of_other_way = "PEXIP_PASSWORD" if client else "PEXIP_OAUTH_PRIVATE_KEY"
        for slot, settings in settings_of(deployment).items():
            for name in names:
                if name in NOT_SET or name in NOT_IN_VAULT or name == of_other_way:
                    continue
                secret = re.fullmatch(
                    r"@Microsoft\.KeyVault\(SecretUri=<[^>]+>secrets/([a-z-]+)/\)", settings.get(name, "")
                )
                if secret:
                    referred.add(secret.group(1))
                else:
                    yield f"{environment}/{slot}: {name} is not a Key Vault reference without a version"
    section = tree.text("infra/docs/deploying.md").split("### Secrets\n")[1].split("\n#")[0]
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE))
    yield from (f"infra/docs/deploying.md does not say what the secret {name} is" for name in sorted(referred - listed))
    yield from (f"infra/docs/deploying.md: no setting refers to the secret {name}" for name in sorted(listed - referred))
    for path in tree.files("infra/*.bicepparam", "infra/*.bicep", "infra/modules/*.bicep"):
        if re.search(r"(?i)(password|secret|accountkey|sharedkey)\w*: '[^@']+'", path.read_text()):
            yield f"{tree.short(path)} holds a password or a key"
