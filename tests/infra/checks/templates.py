"""The templates: they parse, use only declared names and types that Azure has, and grant exactly the rights that the
code needs."""

import ipaddress
import json
import math
import re
import sys
from pathlib import Path

import bicep
from harness import Mistake, Skipped, check

# Functions that only decorators call, or that are no functions of `bicep.File`.
DECORATORS = {"description", "allowed", "minValue", "maxValue", "minLength", "maxLength", "secure"}


def template_files(tree):
    return tree.files("infra/*.bicep", "infra/modules/*.bicep")


@check(
    "templates and parameter files parse",
    Mistake("infra/modules/vault.bicep", "enableSoftDelete: true", "enableSoftDelete true", "vault.bicep"),
    Mistake("infra/prod.bicepparam", "param slots = [", "param slots = [[", "prod.bicepparam"),
)
def parse(tree):
    for path in template_files(tree) + tree.files("infra/*.bicepparam"):
        for line, what in bicep.syntax_errors(path):
            yield f"{tree.short(path)}:{line}: cannot be parsed: {what}"


@check(
    "every used name is declared, and every declared name is used",
    Mistake("infra/modules/host-storage.bicep", "scope: hostAccount\n", "scope: hostAcount\n", "hostAcount is not declared"),
    Mistake(
        "infra/modules/vault.bicep",
        "param workspaceId string",
        "param workspaceId string\nparam spare string",
        "spare is never used",
    ),
    Mistake("infra/modules/monitor.bicep", "workspace.id", "toUpperCase(workspace.id)", "toUpperCase is not known"),
)
def names(tree):
    for path in template_files(tree):
        short = tree.short(path)
        declared, used, called = names_in(bicep.parse(path))
        yield from (f"{short}: {name} is not declared" for name in sorted(used - declared.keys()))
        for name, kind in declared.items():
            if kind in ("parameter", "variable") and name not in used:
                yield f"{short}: {kind} {name} is never used"
        for name in sorted(called - DECORATORS):
            if not hasattr(bicep.File, f"call_{name}"):
                yield f"{short}: function {name} is not known"


def names_in(root):
    """Names that a template declares, with what they are, uses and calls."""
    declared, used, called = {}, set(), set()

    def walk(node, local):
        if node.type in ("loop_variable", "loop_enumerator"):
            return
        if node.type == "identifier":
            if bicep.text(node) not in local:
                used.add(bicep.text(node))
            return
        parts = bicep.children(node)
        if node.type.endswith("_declaration"):
            if node.type != "output_declaration":
                declared[bicep.text(parts[0])] = node.type.removesuffix("_declaration")
            parts = parts[1:]
        elif node.type == "object_property" and len(parts) == 2 and parts[0].type == "identifier":
            parts = parts[1:]
        elif node.type == "call_expression":
            called.add(bicep.text(node.child_by_field_name("function")))
            parts = [node.child_by_field_name("arguments")]
        elif node.type == "member_expression":
            parts = [node.child_by_field_name("object")]
        elif node.type == "for_statement":
            loop = bicep.children(parts[0]) if parts[0].type == "for_loop_parameters" else [parts[0]]
            local = local | {bicep.text(name) for name in loop}
            parts = parts[1:]
        elif node.type == "arguments":
            # The grammar binds `x => x.y` as `(x => x).y`, so the name holds for the whole argument.
            local = local | lambda_names(node)
        elif node.type == "lambda_expression":
            parts = parts[1:]
        for part in parts:
            walk(part, local)

    walk(root, frozenset())
    return declared, used, called


def lambda_names(node):
    if node.type == "lambda_expression":
        return {bicep.text(bicep.children(node)[0])} | lambda_names(bicep.children(node)[-1])
    return {name for child in bicep.children(node) for name in lambda_names(child)}


@check(
    "modules get exactly their parameters, and both environments can be evaluated",
    Mistake("infra/main.bicep", "    alertEmail: alertEmail\n", "", "no value for parameter alertEmail"),
    Mistake(
        "infra/main.bicep", "    poolAccountName:", "    colour: 'blue'\n    poolAccountName:", "storage.bicep has no parameter colour"
    ),
    Mistake("infra/main.bicep", "vaults[index].outputs.uri", "vaults[index].outputs.url", "vaults[index].outputs.url is not there"),
    Mistake("infra/modules/function-app.bicep", "genesys.apiUrl", "genesys.url", "genesys.url is not there"),
    Mistake(
        "infra/modules/api-management.bicep", "../gateway/idim.xml", "../gateway/idir.xml", "there is no ../gateway/idir.xml"
    ),
    Mistake(
        "infra/test.bicepparam",
        "param alertEmail = readEnvironmentVariable('ALERT_EMAIL')",
        "",
        "no value for parameter alertEmail",
    ),
)
def parameters(tree):
    for name, deployment in tree.environments.items():
        if len(deployment.resources) < 50:
            yield f"{name}: only {len(deployment.resources)} resources"


@check(
    "resources have only properties and values that Azure accepts",
    Mistake("infra/modules/vault.bicep", "enablePurgeProtection", "enablePurgeProtektion", "unknown property"),
    Mistake("infra/modules/function-app.bicep", "ftpsState: 'Disabled'", "ftpsState: true", "expected string"),
    Mistake("infra/modules/storage.bicep", "minimumTlsVersion: 'TLS1_2'", "minimumTlsVersion: 12", "expected string"),
    Mistake("infra/modules/monitor.bicep", "components@2020-02-02", "components@2019-02-02", "unknown type/api-version"),
    Mistake("infra/modules/monitor.bicep", "    groupShortName: 'maxconf'\n", "", "missing required 'groupShortName'"),
)
def types(tree):
    shared = Path(__file__).resolve().parents[4] / "shared"
    checker, data = shared / "tools/biceptypes.py", shared / "data/bicep-types"
    if not checker.exists() or not data.exists():
        raise Skipped("the type data of Azure is not beside this checkout")
    known = {path.parts[-3] for path in data.glob("generated/*/*/*/types.json")}
    rendered = rendered_templates(tree)
    output, code = tree.run(sys.executable, checker, data, *rendered)
    findings = [line for line in output.splitlines() if re.search(r": [ST]\d ", line)]
    if code != 0 and not findings:
        yield output
    for line in findings:
        unknown = re.search(r"T0 unknown type/api-version ([\w.]+)/(\S+)@(\S+?)(;|$)", line)
        # The data holds some providers only, and of those some types only.
        if unknown and not unknown.group(4) and (unknown.group(1).lower() not in known or unknown.group(2) in UNTYPED):
            continue
        yield line.removeprefix(f"{rendered[0].parent}/")


# Of providers that the data does hold.
UNTYPED = ("activityLogAlerts", "webtests", "workbooks")


def rendered_templates(tree):
    """Files with every resource of both environments written out."""
    folder = tree.scratch()
    paths = []
    for name, deployment in tree.environments.items():
        path = folder / f"{name}.bicep"
        path.write_text(bicep.render(deployment, name))
        paths.append(path)
    return paths


@check(
    "rights match calls: every call has a right, every right a call",
    Mistake(
        "infra/modules/storage.bicep", "  'Storage Queue Data Reader'\n", "", "Storage Queue Data Reader on the ready queue"
    ),
    Mistake(
        "infra/modules/storage.bicep",
        "roles: ['Storage Queue Data Contributor']",
        "roles: ['Storage Queue Data Contributor', 'Storage Blob Data Owner']",
        "no call needs Storage Blob Data Owner",
    ),
    Mistake("infra/rights.json", "974c5e8b", "974c5e8c", "Storage Queue Data Contributor has another id"),
    Mistake("src/storage/queue.rs", "client.get_properties(", "client.get_metadata(", "client.get_metadata"),
    Mistake("src/storage/queue.rs", "self.poison.create(None)", "self.poison.clear(None)", "poison.clear"),
    Mistake("src/storage/records.rs", "blob.upload(", "blob.append(", "blob.append"),
    Mistake(
        "infra/modules/storage.bicep", "  scope: recordContainers[indexOf(containers, slot.records)]\n", "  scope: poolAccount\n", "pool account"
    ),
    Mistake("infra/modules/storage.bicep", "containers/blobs/write'", "containers/write'", "custom role may"),
    Mistake("infra/modules/vault.bicep", "  scope: vault\n  name: guid", "  name: guid", "resource group"),
)
def rights(tree):
    table = json.loads(tree.text("infra/rights.json"))
    for name, identifier in table["roles"].items():
        if ROLES.get(name) != identifier:
            yield f"infra/rights.json: {name} has another id than Microsoft's documentation gives it"
    called = set()
    for module, pattern in (
        ("queue", r"\b(?:self\.)?((?:client|poison|ended)\.\w+)\("),
        ("records", r"\b((?:blob|self\.container)\.(?!blob_client)\w+)\("),
    ):
        found = re.findall(pattern, without_tests(tree.text(f"src/storage/{module}.rs")))
        called |= {call.removeprefix("self.") for call in found}
    listed = {call["by"] for call in table["calls"] if "." in call["by"]}
    yield from (f"infra/rights.json has no row for {call}, which src/storage calls" for call in sorted(called - listed))
    yield from (f"infra/rights.json has a row for {call}, which src/storage does not call" for call in sorted(listed - called))

    built_in = {identifier: name for name, identifier in table["roles"].items()}
    for environment, deployment in tree.environments.items():
        needed = {
            (call["to"], call["role"])
            for call in table["calls"]
            if call["role"] and environment in call.get("environments", [environment])
        }
        given = set()
        by_id = dict(built_in)
        for role in deployment.of_type("Microsoft.Authorization/roleDefinitions"):
            by_id[role.body["name"]] = role.properties["roleName"]
            [permission] = role.properties["permissions"]
            allowed = {action.split("/containers/")[1] for action in permission["dataActions"]}
            if permission["actions"] or allowed != {"blobs/read", "blobs/add/action", "blobs/write", "blobs/delete"}:
                yield f"{environment}: the custom role may {', '.join(sorted(allowed))}"
        for assignment in deployment.of_type("Microsoft.Authorization/roleAssignments"):
            role = by_id.get(assignment.properties["roleDefinitionId"].rsplit("/", 1)[1])
            given.add((target(assignment.body.get("scope")), role))
        for where, role in sorted(needed - given):
            yield f"{environment}: {role} on the {where} is needed but not granted"
        for where, role in sorted(given - needed, key=str):
            yield f"{environment}: no call needs {role} on the {where}"


def without_tests(source):
    return source.split("#[cfg(test)]")[0]


def target(scope):
    """What a role assignment is for, in the words of rights.json."""
    if scope is None:
        return "resource group"
    names = {
        "Microsoft.KeyVault/vaults": "vault",
        "Microsoft.ManagedIdentity/userAssignedIdentities": "identity",
        "Microsoft.Web/sites": "site",
        "Microsoft.Web/sites/slots": "slot",
    }
    if scope.type.endswith("/containers"):
        return "records container"
    if scope.type.endswith("/queues"):
        kind = scope.name.rsplit("-", 1)[1]
        return f"{kind} queue" if kind in ("poison", "ended") else "ready queue"
    if scope.type == "Microsoft.Storage/storageAccounts":
        return "host account" if scope.symbol == "hostAccount" else "pool account"
    return names.get(scope.type, scope.type)


# Ids of the built-in roles, from Microsoft's list of them.
ROLES = {
    "Storage Queue Data Reader": "19e7f393-937e-4f77-808e-94535e297925",
    "Storage Queue Data Message Processor": "8a0f0c08-91a1-4084-bc3d-661d67233fed",
    "Storage Queue Data Message Sender": "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "Managed Identity Operator": "f1a07417-d97a-45cb-824c-7a7467783830",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Website Contributor": "de139f84-1756-47ae-9be6-808fbbe84772",
}


@check(
    "nothing is reachable from outside, and no key grants access",
    Mistake(
        "infra/modules/storage.bicep", "allowSharedKeyAccess: false", "allowSharedKeyAccess: true", "allowSharedKeyAccess"
    ),
    Mistake(
        "infra/modules/vault.bicep",
        "publicNetworkAccess: 'Disabled'",
        "publicNetworkAccess: 'Enabled'",
        "publicNetworkAccess",
    ),
    Mistake("infra/modules/function-app.bicep", "  publicNetworkAccess: 'Disabled'\n", "", "publicNetworkAccess"),
    Mistake(
        "infra/modules/function-app.bicep",
        "  name: 'ftp'\n  properties: { allow: false }",
        "  name: 'ftp'\n  properties: { allow: true }",
        "may publish with a password",
    ),
    Mistake(
        "infra/modules/function-app.bicep",
        "service: 'sites-${slot.name}'",
        "service: 'sites'",
        "no private endpoint for sites-",
    ),
    Mistake(
        "infra/modules/network.bicep",
        "sourceAddressPrefix: gatewayPrefix",
        "sourceAddressPrefix: '*'",
        "nsg-vnet-maxconf-test-inbound lets * in",
    ),
    Mistake("infra/modules/storage.bicep", "service: 'blob'\n    subnetId", "service: 'queue'\n    subnetId", "for blob of"),
    Mistake("infra/modules/network.bicep", "cidrSubnet(addressSpace, 28, 6)", "cidrSubnet(addressSpace, 28, 5)", "overlap"),
)
def closed(tree):
    for environment, deployment in tree.environments.items():
        for account in deployment.of_type("Microsoft.Storage/storageAccounts"):
            yield from wrong(
                environment, account, allowSharedKeyAccess=False, allowBlobPublicAccess=False, publicNetworkAccess="Disabled"
            )
        for vault in deployment.of_type("Microsoft.KeyVault/vaults"):
            yield from wrong(
                environment, vault, publicNetworkAccess="Disabled", enableRbacAuthorization=True, enablePurgeProtection=True
            )
        sites = deployment.of_type("Microsoft.Web/sites") + deployment.of_type("Microsoft.Web/sites/slots")
        policies = {
            p.name: p
            for kind in ("sites", "sites/slots")
            for p in deployment.of_type(f"Microsoft.Web/{kind}/basicPublishingCredentialsPolicies")
        }
        endpoints = {
            connection["properties"]["groupIds"][0]
            for endpoint in deployment.of_type("Microsoft.Network/privateEndpoints")
            for connection in endpoint.properties["privateLinkServiceConnections"]
        }
        addresses = {
            (connection["properties"]["privateLinkServiceId"], connection["properties"]["groupIds"][0])
            for endpoint in deployment.of_type("Microsoft.Network/privateEndpoints")
            for connection in endpoint.properties["privateLinkServiceConnections"]
        }
        blobs = sum(group == "blob" for _, group in addresses)
        if blobs != 3:
            yield f"{environment}: {blobs} private endpoints for blob of three accounts"
        for site in sites:
            yield from wrong(environment, site, publicNetworkAccess="Disabled", httpsOnly=True)
            for kind in ("scm", "ftp"):
                policy = policies.get(f"{site.name}/{kind}")
                if policy is None or policy.properties["allow"]:
                    yield f"{environment}: {site.name} may publish with a password over {kind}"
            group = "sites" if site.parent is None else f"sites-{site.body['name']}"
            if group not in endpoints:
                yield f"{environment}: no private endpoint for {group}"
        yield from open_networks(environment, deployment)


def wrong(environment, resource, **expected):
    for name, value in expected.items():
        if resource.properties.get(name) != value:
            yield f"{environment}: {resource.name}: {name} is {resource.properties.get(name)!r}, not {value!r}"


def open_networks(environment, deployment):
    for group in deployment.of_type("Microsoft.Network/networkSecurityGroups"):
        rules = [rule["properties"] for rule in group.properties.get("securityRules", [])]
        for rule in rules:
            if rule["direction"] == "Inbound" and rule["access"] == "Allow" and "/" not in rule["sourceAddressPrefix"]:
                yield f"{environment}: {group.name} lets {rule['sourceAddressPrefix']} in"
        if rules and max(rules, key=lambda rule: rule["priority"])["access"] != "Deny":
            yield f"{environment}: {group.name} does not end with a denial"
    for network in deployment.of_type("Microsoft.Network/virtualNetworks"):
        subnets = [ipaddress.ip_network(s["properties"]["addressPrefix"]) for s in network.properties["subnets"]]
        for index, one in enumerate(subnets):
            if any(one.overlaps(other) for other in subnets[index + 1 :]):
                yield f"{environment}: subnet {one} and another overlap"


# Seconds that a record must outlive, by the start of its name: the sum of what these lines of the code say.
OUTLIVED = {
    "claims/": {"src/config/pool.rs": r"LONGEST_AGE: u64 = ([\d_* ]+);"},
    "requests/": {"src/config/storage.rs": r"LONGEST_WINDOW: u64 = ([\d_* ]+);"},
    "instant/": {
        "src/config/instant.rs": r"LONGEST_VALIDITY: u64 = ([\d_* ]+);",
        "src/domain/validity.rs": r"FURTHEST_START: Duration = Duration::from_secs\(([\d_* ]+)\);",
    },
}


@check(
    "room records outlive what they decide, and nothing keeps a removed one",
    Mistake("infra/modules/storage.bicep", "daysAfterModificationGreaterThan: 8", "daysAfterModificationGreaterThan: 7", "claims/"),
    Mistake("infra/modules/storage.bicep", "daysAfterModificationGreaterThan: 3", "daysAfterModificationGreaterThan: 2", "requests/"),
    Mistake("infra/modules/storage.bicep", "'${container}/requests/'", "'${container}/request/'", "no rule removes room-records/requests/"),
    Mistake("src/config/storage.rs", "LONGEST_WINDOW: u64 = 172_800", "LONGEST_WINDOW: u64 = 259_200", "requests/"),
    Mistake("src/config/pool.rs", "LONGEST_AGE: u64 = 604_800", "LONGEST_AGE: u64 = 1_209_600", "claims/"),
    Mistake("src/config/instant.rs", "LONGEST_VALIDITY: u64 = 6 *", "LONGEST_VALIDITY: u64 = 7 *", "instant/"),
    Mistake("src/domain/validity.rs", "from_secs(86_400)", "from_secs(2 * 86_400)", "instant/"),
    Mistake("infra/modules/storage.bicep", ", '${container}/instant/'", "", "no rule removes room-records/instant/"),
    Mistake("infra/modules/storage.bicep", "isVersioningEnabled: false", "isVersioningEnabled: true", "keeps what was removed"),
    Mistake(
        "infra/modules/storage.bicep",
        "deleteRetentionPolicy: { enabled: false }",
        "deleteRetentionPolicy: { enabled: true, days: 7 }",
        "keeps what was removed",
    ),
)
def lifetimes(tree):
    for environment, deployment in tree.environments.items():
        [service] = deployment.of_type("Microsoft.Storage/storageAccounts/blobServices")
        off = service.properties["isVersioningEnabled"], service.properties["deleteRetentionPolicy"]["enabled"]
        if any(off):
            yield f"{environment}: the blob service keeps what was removed"
        [policy] = deployment.of_type("Microsoft.Storage/storageAccounts/managementPolicies")
        days = {}
        for rule in policy.properties["policy"]["rules"]:
            definition = rule["definition"]
            for prefix in definition["filters"]["prefixMatch"]:
                days[prefix] = definition["actions"]["baseBlob"]["delete"]["daysAfterModificationGreaterThan"]
        containers = deployment.of_type("Microsoft.Storage/storageAccounts/blobServices/containers")
        for container in containers:
            for start, lines in OUTLIVED.items():
                prefix = f"{container.body['name']}/{start}"
                products = [re.search(line, tree.text(path))[1] for path, line in lines.items()]
                seconds = sum(math.prod(int(factor) for factor in product.split("*")) for product in products)
                if prefix not in days:
                    yield f"{environment}: no rule removes {prefix}"
                elif days[prefix] * 86_400 <= seconds:
                    yield f"{environment}: {prefix} is removed after {days[prefix]} days, and {' and '.join(lines)} need {seconds} s"
