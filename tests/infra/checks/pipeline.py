"""The workflows: which jobs reach Azure, what they deploy where, and in which order."""

import json
import re

import yaml

from harness import Mistake, check


def workflows(tree):
    """Name, triggers and content of each workflow."""
    for path in tree.files(".github/workflows/*.yml"):
        content = yaml.safe_load(path.read_text())
        # YAML 1.1 reads the key `on` as true.
        yield path.name, content[True], content


def jobs(tree):
    for name, _, content in workflows(tree):
        for job, body in content["jobs"].items():
            yield f"{name}/{job}", content, body


@check(
    "only environments reach Azure, one deployment after the other, without a password",
    Mistake(
        ".github/workflows/release.yml",
        "  group: deploy-prod",
        "  group: release",
        "release.yml/staging: is not in the queue deploy-prod",
    ),
    Mistake(
        ".github/workflows/deploy-edge.yml",
        "      group: deploy-test",
        "      group: deploy-edge",
        "is not in the queue deploy-test",
    ),
    Mistake(".github/workflows/rollback.yml", "cancel-in-progress: false", "cancel-in-progress: true", "can be cancelled"),
    Mistake(
        ".github/workflows/check.yml",
        "  contents: read\n",
        "  contents: read\n  id-token: write\n",
        "can log in to Azure without an environment",
    ),
    Mistake(".github/workflows/rollback.yml", "    environment: prod\n", "", "without an environment"),
    Mistake(".github/workflows/deploy-test.yml", "permissions: {}", "permissions: write-all", "gives every job"),
    Mistake(
        ".github/workflows/deploy-test.yml",
        "          tenant-id: ${{ vars.AZURE_TENANT_ID }}",
        "          tenant-id: ${{ vars.AZURE_TENANT_ID }}\n          client-secret: ${{ secrets.AZURE_CLIENT_SECRET }}",
        "logs in to Azure with more than its identity",
    ),
    Mistake(".github/workflows/check.yml", "  pull_request:", "  pull_request_target:", "pull_request_target"),
    Mistake(
        ".github/workflows/infrastructure.yml",
        "group: deploy-${{ inputs.environment }}",
        "group: infrastructure",
        "is not in the queue",
    ),
)
def azure(tree):
    for name, triggers, content in workflows(tree):
        if "pull_request_target" in triggers:
            yield f"{name}: pull_request_target runs a fork's code with this repository's rights"
        if content.get("permissions") not in ({}, {"contents": "read"}):
            yield f"{name}: gives every job {content.get('permissions')}"
    for where, content, body in jobs(tree):
        logs_in = any("azure/login" in step.get("uses", "") for step in body["steps"])
        permissions = body.get("permissions", content.get("permissions"))
        environment = body.get("environment")
        attests = any("actions/package" in step.get("uses", "") for step in body["steps"])
        if permissions.get("id-token") == "write" and not environment and not attests:
            yield f"{where}: can log in to Azure without an environment"
        if not logs_in:
            continue
        if not environment:
            yield f"{where}: logs in to Azure without an environment"
            continue
        concurrency = body.get("concurrency", content.get("concurrency", {}))
        queue = "deploy-${{ inputs.environment }}" if "inputs" in environment else f"deploy-{environment.split('-')[0]}"
        if concurrency.get("group") != queue:
            yield f"{where}: is not in the queue {queue}"
        if concurrency.get("cancel-in-progress") is not False:
            yield f"{where}: can be cancelled in the middle"
        for step in body["steps"]:
            if "azure/login" in step.get("uses", "") and set(step["with"]) != {"client-id", "tenant-id", "subscription-id"}:
                yield f"{where}: logs in to Azure with more than its identity"


def app_of(given):
    """The app that a step deploys to, where no variable names another."""
    name = given.get("app-name", "")
    chosen = re.fullmatch(r"\$\{\{ vars\.APP_NAME \|\| '([\w-]+)' \}\}", name)
    return chosen[1] if chosen else name


@check(
    "every upload names its slot, and Production is reached by a swap only",
    Mistake(".github/workflows/release.yml", "          slot-name: staging\n", "", "names no slot"),
    Mistake(
        ".github/workflows/release.yml",
        "          slot-name: staging\n",
        "          slot-name: production\n",
        "uploads to fa-maxconf-prod/production",
    ),
    Mistake(
        ".github/workflows/deploy-edge.yml",
        "slot-name: edge",
        "slot-name: production",
        "uploads to fa-maxconf-test/production from test-edge",
    ),
    Mistake(".github/actions/deploy/action.yml", "        slot-name: ${{ inputs.slot-name }}\n", "", "names no slot"),
    Mistake(
        ".github/workflows/release.yml",
        "    environment: prod\n",
        "    environment: prod-staging\n",
        "swap without the reviewers",
    ),
    Mistake(".github/workflows/deploy-edge.yml", "    branches: [edge]", "    branches: [edge, main]", "starts by"),
)
def destinations(tree):
    allowed = {
        ("fa-maxconf-test", "edge"): "test-edge",
        ("fa-maxconf-test", "production"): "test",
        ("fa-maxconf-prod", "staging"): "prod-staging",
    }
    action = yaml.safe_load(tree.text(".github/actions/deploy/action.yml"))
    for step in action["runs"]["steps"]:
        if "functions-action" in step.get("uses", "") and step["with"].get("slot-name") != "${{ inputs.slot-name }}":
            yield "the deploy action names no slot"
    for where, _, body in jobs(tree):
        for step in body["steps"]:
            if "functions-action" in step.get("uses", ""):
                yield f"{where}: uploads past the deploy action"
            if step.get("uses", "").endswith("actions/deploy"):
                to = (app_of(step["with"]), step["with"].get("slot-name"))
                if to[1] is None:
                    yield f"{where}: names no slot"
                elif allowed.get(to) != body["environment"]:
                    yield f"{where}: uploads to {'/'.join(to)} from {body['environment']}"
            if "infra/swap" in step.get("run", "") and body.get("environment") != "prod":
                yield f"{where}: can swap without the reviewers"
    started = {name: triggers for name, triggers, _ in workflows(tree)}
    for name, trigger in {
        "deploy-edge.yml": {"push": {"branches": ["edge"]}},
        "deploy-test.yml": {"push": {"branches": ["main"]}},
    }.items():
        if started[name] != trigger:
            yield f"{name}: starts by {started[name]}"
    if set(started["rollback.yml"]) != {"workflow_dispatch"} or set(started["release.yml"]) != {
        "release",
        "workflow_dispatch",
    }:
        yield "release or rollback has another trigger than a release or a manual start"


@check(
    "a release is the package that passed on Test",
    Mistake(".github/workflows/release.yml", "--status success ", "", "takes a package that did not pass on Test"),
    Mistake(
        ".github/workflows/release.yml",
        "          workflow: deploy-test.yml",
        "          workflow: deploy-edge.yml",
        "of another workflow",
    ),
    Mistake(".github/workflows/release.yml", "    needs: [find, staging]", "    needs: [find]", "swaps before staging"),
)
def artefact(tree):
    release = yaml.safe_load(tree.text(".github/workflows/release.yml"))
    find = release["jobs"]["find"]["steps"][0]["run"]
    if "--status success" not in find or "--workflow deploy-test.yml" not in find or '--commit "$commit"' not in find:
        yield "release.yml takes a package that did not pass on Test"
    if release["jobs"]["swap"]["needs"] != ["find", "staging"]:
        yield "release.yml swaps before staging is found healthy"
    for job, body in release["jobs"].items():
        for step in body["steps"]:
            given = {**step.get("env", {}), **step.get("with", {})}
            if any(given.get(key, "deploy-test.yml") != "deploy-test.yml" for key in ("workflow", "WORKFLOW")):
                yield f"release.yml/{job} takes a package of another workflow"


@check(
    "a rollback waits for no other job and no self-hosted runner",
    Mistake(
        ".github/workflows/rollback.yml",
        "runs-on: ubuntu-24.04",
        "runs-on: [self-hosted, maxconf-prod]",
        "waits for a self-hosted runner",
    ),
    Mistake(
        ".github/workflows/rollback.yml",
        "run: |\n          printf",
        "run: |\n          infra/fetch-package\n          printf",
        "does more",
    ),
)
def rollback(tree):
    job = yaml.safe_load(tree.text(".github/workflows/rollback.yml"))["jobs"]["swap-back"]
    if job["runs-on"] != "ubuntu-24.04" or "needs" in job:
        yield "rollback.yml waits for a self-hosted runner or for another job"
    scripts = re.findall(r"infra/[\w-]+(?: \w+)?", " ".join(step.get("run", "") for step in job["steps"]))
    if scripts != ["infra/swap rollback"]:
        yield f"rollback.yml does more than swap: {scripts}"


@check(
    "the pipeline sets every value that the templates read",
    Mistake(
        ".github/workflows/infrastructure.yml",
        "          PEXIP_NETWORK_ID: ${{ vars.PEXIP_NETWORK_ID }}\n",
        "",
        "infrastructure.yml does not set PEXIP_NETWORK_ID",
    ),
)
def values(tree):
    job = yaml.safe_load(tree.text(".github/workflows/infrastructure.yml"))["jobs"]["deploy"]
    given = job["steps"][-1]["env"]
    for path in tree.files("infra/*.bicepparam"):
        for name in sorted(set(re.findall(r"readEnvironmentVariable\('(\w+)'", path.read_text())) - {"GITHUB_REPOSITORY"}):
            if name not in given:
                yield f"infrastructure.yml does not set {name}"
    if job["environment"] != "${{ inputs.environment }}-infra${{ matrix.step == 'what-if' && '-preview' || '' }}":
        yield "infrastructure.yml deploys without reviewers"


# GitHub environments whose jobs can change what citizens meet, or reach Production's Pexip.
REVIEWED = ("prod-staging", "prod", "test-infra", "prod-infra")


@check(
    "environments that can harm have reviewers, and the preview of templates may only read",
    Mistake(
        "infra/docs/deploying.md",
        "| `prod-staging` | tags `v*` and `main`, **reviewers** |",
        "| `prod-staging` | tags `v*` and `main` |",
        "prod-staging needs reviewers",
    ),
    Mistake("infra/docs/deploying.md", "| `prod` | tags `v*` and `main`, **reviewers** |", "| `prod` | |", "prod needs reviewers"),
    Mistake("infra/preview-role.json", '"*/read"', '"*"', "infra/preview-role.json allows *"),
    Mistake("infra/preview-role.json", '"DataActions": []', '"DataActions": ["*/read"]', "allows */read of data"),
    Mistake("infra/docs/deploying.md", "infra/preview-role.json", "owner.json", "does not say how to make the preview's"),
)
def privileges(tree):
    page = tree.text("infra/docs/deploying.md")
    for row in page.split("### GitHub environments\n")[1].split("\n#")[0].splitlines():
        cells = row.split("|")
        for name in re.findall(r"`([\w-]+)`", cells[1] if len(cells) > 2 else ""):
            if name in REVIEWED and "**reviewers**" not in cells[2]:
                yield f"infra/docs/deploying.md: {name} needs reviewers"
    role = json.loads(tree.text("infra/preview-role.json"))
    previewing = {"*/read", "Microsoft.Resources/deployments/validate/action", "Microsoft.Resources/deployments/whatIf/action"}
    yield from (f"infra/preview-role.json allows {one}" for one in sorted(set(role["Actions"]) - previewing))
    yield from (f"infra/preview-role.json allows {one} of data" for one in role["DataActions"])
    if "infra/preview-role.json" not in page:
        yield "infra/docs/deploying.md does not say how to make the preview's identity"


@check(
    "gateway and pipeline name the same apps, slots and addresses",
    Mistake(
        ".github/workflows/deploy-test.yml",
        "url: https://api.test.vc.maxconf.ca",
        "url: https://api.vc.maxconf.ca",
        "smokes https://api.vc.maxconf.ca",
    ),
    Mistake("infra/test.bicepparam", "gatewayPath: 'edge'", "gatewayPath: 'next'", "smokes"),
    Mistake(
        "infra/test.bicepparam",
        "gitHubEnvironment: 'test-edge'",
        "gitHubEnvironment: 'edge'",
        "no identity for the environment test-edge",
    ),
    Mistake(
        "infra/test.bicepparam", "'fa-maxconf-test'", "'func-maxconf-test'", "fa-maxconf-test is deployed to and not made"
    ),
)
def one_service(tree):
    made, subjects, urls = set(), set(), {}
    for environment, deployment in tree.environments.items():
        host = {"test": "api.test.vc.maxconf.ca", "prod": "api.vc.maxconf.ca"}[environment]
        sites = deployment.of_type("Microsoft.Web/sites")
        made |= {site.name for site in sites}
        for api in deployment.of_type("Microsoft.ApiManagement/service/apis"):
            slot = api.body["name"].removeprefix("maxconf-")
            urls[sites[0].name, slot] = f"https://{host}/{api.properties['path']}".rstrip("/")
        subjects |= {
            c.properties["subject"].rsplit(":", 1)[1]
            for c in deployment.of_type("Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials")
        }
    for where, _, body in jobs(tree):
        environment = body.get("environment")
        if environment and "inputs" not in environment and environment not in subjects:
            yield f"{where}: no identity for the environment {environment}"
        to = None
        for step in body["steps"]:
            given = step.get("with", {})
            if "app-name" in given:
                to = (app_of(given), given.get("slot-name"))
                if to[0] not in made:
                    yield f"{where}: {to[0]} is deployed to and not made"
            if step.get("uses", "").endswith("actions/smoke") and to and urls.get(to) != given["url"]:
                yield f"{where}: smokes {given['url']} after a deployment to {'/'.join(map(str, to))}"
