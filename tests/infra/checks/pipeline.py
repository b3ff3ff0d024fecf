"""The workflows, and the scripts that they call, with `az`, `gh` and `maxconf` played by fakes."""

import os
import re
import shutil
import sys

import yaml

from harness import EXAMPLE_VALUES, Mistake, check


def workflows(tree):
    """Name, triggers and content of each workflow."""
    for path in tree.files(".github/workflows/*.yml"):
        content = yaml.safe_load(path.read_text())
        # YAML 1.1 takes the key `on` for a truth value.
        yield path.name, content[True], content


def jobs(tree):
    for name, _, content in workflows(tree):
        for job, body in content["jobs"].items():
            yield f"{name}/{job}", content, body


def steps(tree):
    for where, _, body in jobs(tree):
        for step in body["steps"]:
            yield where, step


@check(
    "only environments reach Azure, one deployment at a time, with no password",
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
            yield f"{name}: pull_request_target runs strangers' code with our rights"
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


@check(
    "code goes where it should: a slot is always named, and Production is reached by a swap only",
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
                to = (step["with"].get("app-name"), step["with"].get("slot-name"))
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
        yield "release and rollback start by something else than a release and a hand"


@check(
    "a release is the package that passed on Test, verified before it is uploaded",
    Mistake(".github/workflows/release.yml", "--status success ", "", "takes a package that did not pass on Test"),
    Mistake(
        ".github/workflows/release.yml",
        "          workflow: deploy-test.yml",
        "          workflow: deploy-edge.yml",
        "of another workflow",
    ),
    Mistake(".github/workflows/release.yml", "    needs: [find, staging]", "    needs: [find]", "swaps before staging"),
    Mistake("infra/fetch-package", "sha256sum --check maxconf.zip.sha256\n", "", "takes a package with another checksum"),
    Mistake(
        "infra/fetch-package", "gh attestation verify", "gh attestation download", "takes a package that is not attested"
    ),
    Mistake("infra/fetch-package", ' --source-digest "$COMMIT"', "", "of whatever commit"),
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
    yield from fetches(tree)


def fetches(tree):
    """Runs infra/fetch-package on good and bad packages."""
    for what, checksum, attested, code in (
        ("a good package", "good", 0, 0),
        ("a package with another checksum", "bad", 0, 1),
        ("a package that is not attested", "good", 1, 1),
    ):
        folder = tree.scratch()
        gh = f"""
            echo "$@" >>{folder}/calls
            case "$1 $2" in
            "run download")
                printf '#!/bin/sh\\n' >package/maxconf
                (cd package && {sys.executable} -m zipfile -c maxconf.zip maxconf && rm maxconf)
                (cd package && sha256sum maxconf.zip >maxconf.zip.sha256)
                [ {checksum} = good ] || echo changed >>package/maxconf.zip ;;
            "attestation verify") exit {attested} ;;
            esac"""
        environment = fakes(folder, gh=gh, unzip=f'{sys.executable} -m zipfile -e "$3" .') | {
            "COMMIT": "c0ffee",
            "WORKFLOW": "deploy-test.yml",
            "RUN_ID": "7",
            "GITHUB_REPOSITORY": "example/maxconf",
        }
        output, got = tree.run(tree.path("infra/fetch-package"), cwd=folder, env=environment)
        if (got != 0) != (code != 0):
            yield f"infra/fetch-package takes {what}" if got == 0 else f"infra/fetch-package refuses {what}: {output}"
        calls = (folder / "calls").read_text()
        if "attestation verify" in calls and "--source-digest c0ffee" not in calls:
            yield "infra/fetch-package takes a package of whatever commit"


def fakes(folder, **programs):
    """Puts programs into a folder; an environment in which they come first."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name, script in programs.items():
        path = tools / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(folder)}


# Ends of smoke before and after, whether the first swap works; then swaps, and whether the job succeeds.
SWAPS = (
    ("healthy before and after", 0, 0, True, 1, True),
    ("broken by the release", 0, 1, True, 2, False),
    ("a dependency goes down", 0, 3, True, 1, True),
    ("down before and after", 3, 3, True, 1, True),
    ("nobody can tell", 0, 4, True, 1, False),
    ("smoke was called wrongly", 0, 2, True, 1, False),
    ("smoke crashes", 0, 101, True, 1, False),
    ("the swap fails", 0, 0, False, 1, False),
)


@check(
    "a swap is undone for our own faults only, and a rollback needs nothing but Azure",
    Mistake("infra/swap", "ours=1 dependency=3", "ours=3 dependency=1", "broken by the release"),
    Mistake("infra/swap", "        swap\n        return 1", "        return 1", "broken by the release"),
    Mistake(
        "infra/swap",
        '*)\n        echo "::error::Nobody',
        '*)\n        swap\n        echo "::error::Nobody',
        "nobody can tell",
    ),
    Mistake(
        "infra/swap",
        "--slot staging --target-slot production",
        "--slot production --target-slot staging",
        "swaps something else",
    ),
    Mistake("infra/swap", "rollback) swap ;;", "rollback) release ;;", "a rollback needs more than Azure"),
    Mistake("infra/swap", " --compare before.json", "", "does not compare"),
    Mistake(
        ".github/workflows/rollback.yml",
        "runs-on: ubuntu-24.04",
        "runs-on: [self-hosted, maxconf-prod]",
        "waits for a runner of ours",
    ),
)
def swap(tree):
    for what, before, after, swaps, expected, succeeds in SWAPS:
        folder = tree.scratch()
        az = f'echo "$@" >>{folder}/swaps; {"true" if swaps else "exit 1"}'
        environment = fakes(folder, az=az) | {
            "RESOURCE_GROUP": "rg",
            "APP_NAME": "fa-maxconf-prod",
            "URL": "https://api.example.org",
        }
        package = folder / "package"
        package.mkdir()
        (package / "maxconf").write_text(
            f"""#!/bin/bash
            echo "$@" >>{folder}/calls
            case "$*" in
            --version) echo "maxconf 9.9.9 (c0ffee)" ;;
            *--compare*) exit {after} ;;
            *--expect-version*) exit {after} ;;
            *) exit {before} ;;
            esac"""
        )
        (package / "maxconf").chmod(0o755)
        output, code = tree.run(tree.path("infra/swap"), "release", cwd=folder, env=environment)
        made = (folder / "swaps").read_text().splitlines()
        if len(made) != expected or (code == 0) != succeeds:
            yield f"infra/swap: {what}: {len(made)} swaps and exit code {code}: {output}"
        if any("--slot staging --target-slot production" not in one for one in made):
            yield f"infra/swap swaps something else: {made}"
        if swaps and "--expect-version 9.9.9 --compare before.json" not in (folder / "calls").read_text():
            yield "infra/swap does not compare with before, or does not expect the new version"

    folder = tree.scratch()
    environment = fakes(folder, az=f"echo swapped >>{folder}/swaps") | {
        "RESOURCE_GROUP": "rg",
        "APP_NAME": "fa-maxconf-prod",
    }
    output, code = tree.run(tree.path("infra/swap"), "rollback", cwd=folder, env=environment)
    if code != 0 or (folder / "swaps").read_text() != "swapped\n":
        yield f"infra/swap: a rollback needs more than Azure: {output}"
    rollback = yaml.safe_load(tree.text(".github/workflows/rollback.yml"))["jobs"]["swap-back"]
    if rollback["runs-on"] != "ubuntu-24.04" or "needs" in rollback:
        yield "rollback.yml waits for a runner of ours or for another job"


@check(
    "templates are deployed with every value that they read",
    Mistake(
        ".github/workflows/infrastructure.yml",
        "          PEXIP_NETWORK_ID: ${{ vars.PEXIP_NETWORK_ID }}\n",
        "",
        "infrastructure.yml does not give PEXIP_NETWORK_ID",
    ),
    Mistake("infra/deploy", "-z ${!name:-}", "-z ${name:-}", "goes on without PEXIP_NETWORK_ID"),
    Mistake("infra/deploy", "! -f openapi.json", "-f /nowhere/openapi.json", "goes on without openapi.json"),
    Mistake(
        "infra/deploy", '--parameters "$environment.bicepparam"', "--parameters test.bicepparam", "deploys something else"
    ),
)
def values(tree):
    job = yaml.safe_load(tree.text(".github/workflows/infrastructure.yml"))["jobs"]["deploy"]
    given = job["steps"][-1]["env"]
    for path in tree.files("infra/*.bicepparam"):
        for name in sorted(set(re.findall(r"readEnvironmentVariable\('(\w+)'", path.read_text())) - {"GITHUB_REPOSITORY"}):
            if name not in given:
                yield f"infrastructure.yml does not give {name}"
    if job["environment"] != "${{ inputs.environment }}-infra${{ matrix.step == 'what-if' && '-preview' || '' }}":
        yield "infrastructure.yml deploys without reviewers"
    yield from deploys(tree)


def deploys(tree):
    """Runs infra/deploy with everything that it needs, and without one thing each."""
    folder = tree.scratch()
    for path in tree.files("infra/deploy", "infra/*.bicepparam"):
        shutil.copy2(path, folder)
    described = folder / "openapi.json"
    described.write_text("{}")
    calls = folder / "calls"
    environment = fakes(folder, az=f"echo $@ >>{calls}") | EXAMPLE_VALUES | {"RESOURCE_GROUP": "rg"}

    def deploy(**changes):
        return tree.run(folder / "deploy", "create", "prod", cwd=folder, env=environment | changes)

    output, code = deploy()
    expected = "deployment group create --resource-group rg --parameters prod.bicepparam\n"
    if code != 0 or calls.read_text() != expected:
        yield f"infra/deploy deploys something else: {output}"
    output, code = deploy(PEXIP_NETWORK_ID="")
    if code == 0 or "PEXIP_NETWORK_ID" not in output:
        yield f"infra/deploy goes on without PEXIP_NETWORK_ID: {output}"
    described.unlink()
    output, code = deploy()
    if code == 0 or "openapi.json is missing" not in output:
        yield f"infra/deploy goes on without openapi.json: {output}"


@check(
    "the service that the gateway and the pipeline know is one",
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
        "infra/main.bicep", "'fa-maxconf-${short}'", "'func-maxconf-${short}'", "fa-maxconf-test is deployed to and not made"
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
                to = (given["app-name"], given.get("slot-name"))
                if to[0] not in made:
                    yield f"{where}: {to[0]} is deployed to and not made"
            if step.get("uses", "").endswith("actions/smoke") and to and urls.get(to) != given["url"]:
                yield f"{where}: smokes {given['url']} after a deployment to {'/'.join(map(str, to))}"
