"""Third-party tools, run on this repository's files."""

import json
import sys
from pathlib import Path

import yaml

from checks.templates import rendered_templates
from harness import Mistake, check

# The tools of this interpreter's virtual environment; never those of the machine.
TOOLS = Path(sys.executable).parent


def complaints(tree, tool, *arguments):
    output, code = tree.run(TOOLS / tool, *arguments)
    if code != 0:
        yield f"{tool} ends with {code}: {output}"


@check(
    "zizmor: the workflows leak no rights or secrets",
    Mistake(
        ".github/workflows/check.yml",
        "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1",
        "actions/checkout@v7",
        "unpinned-uses",
    ),
    Mistake(".github/workflows/rollback.yml", '"$REASON" | tee', '"${{ inputs.reason }}" | tee', "template-injection"),
    Mistake(
        ".github/workflows/check.yml", "          persist-credentials: false\n", "          fetch-depth: 1\n", "artipacked"
    ),
)
def zizmor(tree):
    yield from complaints(tree, "zizmor", "--offline", "--no-progress", "--color=never", ".github")


def check_schema(name, schema, files, *mistakes):
    """Registers a check of files against a schema: a path, or a schema built into the tool."""

    @check(f"check-jsonschema: {name}", *mistakes)
    def schemas(tree):
        paths = tree.files(files)
        if not paths:
            yield f"no files {files}"
        chosen = ("--builtin-schema", schema) if schema.startswith("vendor.") else ("--schemafile", tree.path(schema))
        yield from complaints(tree, "check-jsonschema", "--color", "never", *chosen, *paths)


check_schema(
    "workflows",
    "vendor.github-workflows",
    ".github/workflows/*.yml",
    Mistake(".github/workflows/deploy-edge.yml", "    branches: [edge]", "    branch: [edge]", "branch"),
)
check_schema(
    "actions",
    "vendor.github-actions",
    ".github/actions/*/action.yml",
    Mistake(".github/actions/smoke/action.yml", "  using: composite", "  uses: composite", "smoke/action.yml"),
)
check_schema(
    "dependabot",
    "vendor.dependabot",
    ".github/dependabot.yml",
    Mistake(".github/dependabot.yml", "interval: weekly", "interval: sometimes", "dependabot.yml"),
)
check_schema(
    "host.json",
    "tests/infra/host.schema.json",
    "host.json",
    Mistake("host.json", '"enableProxyingHttpRequest"', '"enableProxyHttpRequest"', "enableProxyHttpRequest"),
    Mistake("host.json", '"Request;Exception"', '"Exception"', "excludedTypes"),
    Mistake("host.json", '"routePrefix": ""', '"routePrefix": "api"', "routePrefix"),
)
check_schema(
    "function.json",
    "tests/infra/function.schema.json",
    "function_*/function.json",
    Mistake("function_room_create/function.json", '"anonymous"', '"function"', "function_room_create"),
    Mistake(
        "function_pool_maintenance/function.json",
        '"runOnStartup": false',
        '"runOnStartup": true',
        "function_pool_maintenance",
    ),
)


@check(
    "yamllint",
    Mistake(
        ".github/workflows/check.yml", "  contents: read\n", "  contents: read\n  contents: read\n", "duplication of key"
    ),
    Mistake("infra/alerts.yaml", "    severity: 1", "     severity: 1", "alerts.yaml"),
)
def yamllint(tree):
    yield from complaints(
        tree,
        "yamllint",
        "--strict",
        "--format",
        "parsable",
        "-c",
        "tests/infra/yamllint.yaml",
        ".github",
        "infra",
        "tests/infra/checkov.yaml",
    )


@check(
    "shellcheck",
    Mistake("infra/swap", '--name "$APP_NAME"', "--name $APP_NAME", "SC2086"),
    Mistake(".ci/run", "exec tests/run", "exec $tests/run", "SC2086"),
    Mistake(
        ".github/workflows/release.yml",
        'gh api "repos/$GITHUB_REPOSITORY/commits/$TAG" --jq',
        "gh api repos/$GITHUB_REPOSITORY/commits/$TAG --jq",
        "SC2086",
    ),
)
def shellcheck(tree):
    scripts = [
        path
        for path in tree.files("infra/*", ".ci/*", "tests/run", "tests/infra/run")
        if path.is_file() and path.read_bytes()[:2] == b"#!"
    ]
    folder = tree.scratch()
    for path in tree.files(".github/workflows/*.yml", ".github/actions/*/action.yml"):
        content = yaml.safe_load(path.read_text())
        bodies = content["jobs"] if "jobs" in content else {"action": content["runs"]}
        for job, body in bodies.items():
            for index, step in enumerate(body["steps"]):
                if "run" in step:
                    script = folder / f"{path.parent.name}-{path.stem}-{job}-{index}.sh"
                    script.write_text("#!/bin/bash\n" + step["run"])
                    scripts.append(script)
    yield from complaints(tree, "shellcheck", "--color=never", *scripts)


@check(
    "checkov: every finding is fixed or accepted with a reason",
    Mistake("infra/modules/storage.bicep", "minimumTlsVersion: 'TLS1_2'", "minimumTlsVersion: 'TLS1_0'", "CKV_AZURE_44"),
    Mistake(
        "tests/infra/checkov.yaml",
        "resource: Microsoft.Web/serverfarms",
        "resource: Microsoft.Web/sites",
        "Microsoft.Web/serverfarms",
    ),
    slow=True,
)
def checkov(tree):
    folder = rendered_templates(tree)[0].parent
    output, _ = tree.run(
        TOOLS / "checkov",
        "--directory",
        folder,
        "--framework",
        "bicep",
        "--quiet",
        "--compact",
        "--skip-download",
        "--output",
        "json",
    )
    report = json.loads(output[output.index("{") :])
    if report["summary"]["parsing_errors"] or not report["summary"]["passed"]:
        yield f"checkov could not read the templates: {report['summary']}"
    known = yaml.safe_load(tree.text("tests/infra/checkov.yaml"))
    accepted = {(one["check"], one["resource"]) for one in known if one["reason"]}
    failed = {(one["check_id"], one["resource"].rsplit(".", 1)[0]): one for one in report["results"]["failed_checks"]}
    for key in sorted(failed.keys() - accepted):
        yield f"checkov {key[0]} {failed[key]['check_name']}: {failed[key]['resource']}"
    for key in sorted(accepted - failed.keys()):
        yield f"tests/infra/checkov.yaml accepts {key[0]} for {key[1]}, which passes it"
