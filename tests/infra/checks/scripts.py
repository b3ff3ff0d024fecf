"""The scripts of the pipeline, run with fake `az`, `gh` and `maxconf`."""

import os
import re
import shutil
import sys

from harness import EXAMPLE_VALUES, Mistake, check


def fakes(folder, **programs):
    """Writes programs into a folder. Returns an environment that has them first in its path."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name, script in programs.items():
        path = tools / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(folder)}


@check(
    "a package is verified before it is used",
    Mistake("infra/fetch-package", "sha256sum --check maxconf.zip.sha256\n", "", "takes a package with another checksum"),
    Mistake(
        "infra/fetch-package", "gh attestation verify", "gh attestation download", "takes a package that is not attested"
    ),
    Mistake("infra/fetch-package", ' --source-digest "$COMMIT"', "", "of any commit"),
)
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
            yield "infra/fetch-package takes a package of any commit"


# Exit codes of smoke before and after, whether the first swap works; then the number of swaps, and whether the job
# succeeds.
SWAPS = (
    ("healthy before and after", 0, 0, True, 1, True),
    ("broken by the release", 0, 1, True, 2, False),
    ("a dependency goes down", 0, 3, True, 1, True),
    ("down before and after", 3, 3, True, 1, True),
    ("smoke gives no verdict", 0, 4, True, 1, False),
    ("smoke was called wrongly", 0, 2, True, 1, False),
    ("smoke crashes", 0, 101, True, 1, False),
    ("the swap fails", 0, 0, False, 1, False),
    ("smoke cannot be used before", 2, 0, True, 0, False),
)


def fake_azure(folder, swaps):
    """Notes each call; those that set the identities of staging as `lend` and `take-back`."""
    return f"""
        case "$*" in
        *"identity show"*) echo /id/production ;;
        *"functionapp show"*) echo /site ;;
        *"/site/slots/staging?"*'"/id/production": {{}}, "/id/production-staging": {{}}'*'Identity": "/id/production"'*)
            echo lend >>{folder}/azure ;;
        *"/site/slots/staging?"*'"/id/production": null, "/id/production-staging": {{}}'*'Identity": "/id/production-staging"'*)
            echo take-back >>{folder}/azure ;;
        *) echo "$@" >>{folder}/azure; {"true" if swaps else "exit 1"} ;;
        esac"""


@check(
    "a swap is undone only for a fault of the release, and a rollback needs only Azure",
    Mistake("infra/swap", "ours=1 dependency=3", "ours=3 dependency=1", "broken by the release"),
    Mistake("infra/swap", "        swap\n        return 1", "        return 1", "broken by the release"),
    Mistake(
        "infra/swap",
        '*)\n        echo "::error::It is unknown',
        '*)\n        swap\n        echo "::error::It is unknown',
        "smoke gives no verdict",
    ),
    Mistake(
        "infra/swap",
        "--slot staging --target-slot production",
        "--slot production --target-slot staging",
        "swaps something else",
    ),
    Mistake("infra/swap", "rollback) swap ;;", "rollback) release ;;", "a rollback needs more than Azure"),
    Mistake("infra/swap", " --compare before.json", "", "does not compare"),
    Mistake("infra/swap", ' --tag-host "$TAG_HOST" --json', " --json", "sends a case without a host"),
    Mistake("infra/swap", "Nothing was swapped\"\n        return 1", "\"", "smoke cannot be used before"),
    Mistake("infra/swap", " || outcome=$?", "", "the swap fails: staging has Production's identity other than during"),
    Mistake("infra/swap", '"$site" "{\\"$production\\": null', '"$site" "{\\"$production\\": {}', "other than during"),
    Mistake("infra/swap", '{}}" "$production"', '{}}" "$staging"', "other than during"),
)
def swap(tree):
    for what, before, after, swaps, expected, succeeds in SWAPS:
        folder = tree.scratch()
        az = fake_azure(folder, swaps)
        environment = fakes(folder, az=az) | {
            "RESOURCE_GROUP": "rg",
            "APP_NAME": "fa-maxconf-prod",
            "URL": "https://api.example.org",
            "TAG_HOST": "id",
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
        asked = (folder / "azure").read_text().splitlines() if (folder / "azure").exists() else []
        made = [call for call in asked if " slot swap " in call]
        lent = [call.split()[0] for call in asked if call.startswith(("lend", "take-back")) or " slot swap " in call]
        if lent != ["lend", "functionapp", "take-back"] * len(made):
            yield f"infra/swap: {what}: staging has Production's identity other than during the swap: {lent}"
        if len(made) != expected or (code == 0) != succeeds:
            yield f"infra/swap: {what}: {len(made)} swaps and exit code {code}: {output}"
        if any("--slot staging --target-slot production" not in one for one in made):
            yield f"infra/swap swaps something else: {made}"
        calls = (folder / "calls").read_text()
        if swaps and made and "--expect-version 9.9.9 --compare before.json" not in calls:
            yield "infra/swap does not compare with before, or does not expect the new version"
        if any("--tag-host id" not in call for call in calls.splitlines() if call.startswith("smoke ")):
            yield "infra/swap sends a case without a host"

    folder = tree.scratch()
    environment = fakes(folder, az=fake_azure(folder, True)) | {
        "RESOURCE_GROUP": "rg",
        "APP_NAME": "fa-maxconf-prod",
    }
    output, code = tree.run(tree.path("infra/swap"), "rollback", cwd=folder, env=environment)
    if code != 0 or (folder / "azure").read_text().count(" slot swap ") != 1:
        yield f"infra/swap: a rollback needs more than Azure: {output}"


@check(
    "infra/deploy deploys the given environment, or reports what is missing",
    Mistake("infra/deploy", "-z ${!name:-}", "-z ${name:-}", "continues without PEXIP_NETWORK_ID"),
    Mistake("infra/deploy", "-z ${!client:-}", "-z x${!client:-}", "without an account at Pexip"),
    Mistake("infra/deploy", '== "${PEXIP_OAUTH_CLIENT_ID', '== "x${PEXIP_OAUTH_CLIENT_ID', "with one client for both slots"),
    Mistake("infra/deploy", "ProviderNoRbac", "Provider", "asks for the right to write in a preview"),
    Mistake("infra/deploy", "! -f openapi.json", "-f /nowhere/openapi.json", "continues without openapi.json"),
    Mistake(
        "infra/deploy", '--parameters "$environment.bicepparam"', "--parameters test.bicepparam", "deploys something else"
    ),
    Mistake("infra/prod.bicepparam", "('INSTANT_ROOM_DIAL_OUT', '')", "('INSTANT_ROOM_DIAL_OUT')", "needs INSTANT_ROOM_DIAL_OUT"),
    Mistake("infra/prod.bicepparam", "'INSTANT_ROOM_DIAL_OUT', ''", "'INSTANT_ROOM_DIAL_OUT', 'none'", "INSTANT_ROOM_DIAL_OUT replaces"),
)
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
    output, code = deploy(PEXIP_OAUTH_CLIENT_ID="")
    if code == 0 or "PEXIP_USERNAME" not in output:
        yield f"infra/deploy continues without an account at Pexip: {output}"
    output, code = deploy(PEXIP_OAUTH_CLIENT_ID_STAGING=environment["PEXIP_OAUTH_CLIENT_ID"])
    if code == 0 or "other than production's" not in output:
        yield f"infra/deploy continues with one client for both slots: {output}"
    calls.unlink(missing_ok=True)
    output, code = tree.run(folder / "deploy", "what-if", "prod", cwd=folder, env=environment)
    if code != 0 or "--validation-level ProviderNoRbac" not in calls.read_text():
        yield f"infra/deploy asks for the right to write in a preview: {output}"
    output, code = deploy(PEXIP_OAUTH_CLIENT_ID="", PEXIP_USERNAME="maxconf")
    if code != 0:
        yield f"infra/deploy does not accept a Basic account: {output}"
    output, code = deploy(INSTANT_ROOM_DIAL_OUT="")
    if code != 0:
        yield f"infra/deploy needs INSTANT_ROOM_DIAL_OUT: {output}"
    # A pipeline sets a missing variable to the empty text, which the compiler does not replace by a default.
    pipeline = tree.text(".github/workflows/infrastructure.yml")
    for path in tree.files("infra/*.bicepparam"):
        for name in re.findall(r"readEnvironmentVariable\('(\w+)', '[^']", path.read_text()):
            if f"vars.{name} ||" not in pipeline:
                yield f"{tree.short(path)}: an empty {name} replaces its default"
    output, code = deploy(PEXIP_NETWORK_ID="")
    if code == 0 or "PEXIP_NETWORK_ID" not in output:
        yield f"infra/deploy continues without PEXIP_NETWORK_ID: {output}"
    described.unlink()
    output, code = deploy()
    if code == 0 or "openapi.json is missing" not in output:
        yield f"infra/deploy continues without openapi.json: {output}"
