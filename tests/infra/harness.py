"""Checks, the mistakes that prove that they detect something, and the file tree that they run on."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import bicep

# The files that the checks read. Mistakes are made in a copy of them.
CHECKED_FILES = (
    ".ci",
    ".github",
    "infra",
    "tests/infra",
    "tests/run",
    "src/storage/queue.rs",
    "src/storage/records.rs",
    "src/config/instant.rs",
    "src/config/pool.rs",
    "src/config/storage.rs",
    "src/domain/validity.rs",
    "src/http/problem.rs",
    "host.json",
    "function_*",
)

# The variables that the parameter files read, with realistic values.
EXAMPLE_VALUES = {
    "ALERT_EMAIL": "operators@example.org",
    "CORS_ALLOWED_ORIGINS": "https://agent.example.org,https://preview.example.org",
    "ENTRA_ALLOWED_CLIENT_IDS": "11111111-2222-4333-8444-555555555555,66666666-7777-4888-9999-000000000000",
    "ENTRA_AUDIENCE": "6e74172b-be56-4843-9ff4-e66a39bb12e3,api://maxconf,own",
    "ENTRA_CREATE_ROLE": "Room.Create",
    "ENTRA_DELETE_ROLE": "Room.Delete",
    "ENTRA_READ_ROLE": "none",
    "ENTRA_TENANT_ID": "aaaabbbb-0000-4ccc-8111-dddd2222eeee",
    "GATEWAY_NAME": "apim-example",
    "GATEWAY_RESOURCE_GROUP": "rg-gateway",
    "GENESYS_DIVISION_IDS": "d3f2a1b0-1111-4a2b-8c3d-4e5f6a7b8c9d",
    "GENESYS_OAUTH_CLIENT_IDS": "99999999-8888-4777-8666-555555555555",
    "GENESYS_ORGANIZATION_ID": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "GITHUB_REPOSITORY": "example/maxconf",
    "MAXCONF_ADDRESS_SPACE": "10.20.30.0/24",
    "PEXIP_CONFERENCING_NODES": "203.0.113.10,203.0.113.11",
    "PEXIP_MANAGEMENT_ADDRESS": "10.1.2.3",
    "PEXIP_MANAGEMENT_URL": "https://pexip.example.org",
    "PEXIP_NETWORK_ID": "/subscriptions/x/resourceGroups/pexip/providers/Microsoft.Network/virtualNetworks/pexip",
    "PEXIP_OAUTH_CLIENT_ID": "b1d9c7e0-1111-4a2b-8c3d-4e5f6a7b8c9d",
    "PEXIP_OAUTH_CLIENT_ID_EDGE": "b1d9c7e0-2222-4a2b-8c3d-4e5f6a7b8c9d",
    "PEXIP_OAUTH_CLIENT_ID_STAGING": "b1d9c7e0-2222-4a2b-8c3d-4e5f6a7b8c9d",
    "ROOM_AUTOMATIC_PARTICIPANTS": "7",
    "ROOM_PROPERTIES": '{"call_type": "video"}',
    "ROOM_TAG_HOSTS": "id,idtest",
    "SERVICE_CLOSED_DATES": "2026-12-25,2026-12-28",
    "SERVICE_HOURS": "America/Vancouver Mon-Fri 07:30-17:00 Sat 09:00-17:00",
    "SMOKE_ADDRESSES": "203.0.113.20",
}
ENVIRONMENTS = ("test", "prod")


@dataclass(frozen=True)
class Mistake:
    """A change to one file after which a check must report `finds`."""

    file: str
    old: str
    new: str
    finds: str


@dataclass(frozen=True)
class Check:
    name: str
    findings: object
    mistakes: tuple
    slow: bool


class StaleMistake(Exception):
    """A mistake whose `old` text is no longer in the file."""


class Skipped(Exception):
    """A check cannot run here, with the reason."""


CHECKS = []


def check(name, *mistakes, slow=False):
    """Registers a function that yields what is wrong in a tree. Requires a mistake that it must find."""
    if not mistakes:
        raise ValueError(f"no mistake proves that the check detects something: {name}")

    def register(findings):
        CHECKS.append(Check(name, findings, mistakes, slow))
        return findings

    return register


class Tree:
    """The project's files below a root, and a folder for temporary files."""

    def __init__(self, root, folder):
        self.root = Path(root)
        self.folder = folder

    def scratch(self):
        return Path(tempfile.mkdtemp(dir=self.folder))

    def path(self, name):
        return self.root / name

    def text(self, name):
        return self.path(name).read_text()

    def files(self, *patterns):
        return sorted(path for pattern in patterns for path in self.root.glob(pattern))

    def short(self, path):
        return path.relative_to(self.root)

    @cached_property
    def environments(self):
        """The deployment of each environment, by its name."""
        return {name: bicep.evaluate(self.path(f"infra/{name}.bicepparam"), EXAMPLE_VALUES) for name in ENVIRONMENTS}

    def run(self, *command, **options):
        """Output and exit code of a tool, run at the root."""
        options = {"cwd": self.root, "timeout": 300} | options
        done = subprocess.run(
            [str(argument) for argument in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )
        return done.stdout, done.returncode

    def with_mistake(self, mistake):
        """A copy of the tree with a mistake in it."""
        copy = self.scratch()
        for pattern in CHECKED_FILES:
            for source in self.root.glob(pattern):
                target = copy / source.relative_to(self.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
                else:
                    shutil.copy2(source, target)
        path = copy / mistake.file
        before = path.read_text()
        if mistake.old not in before:
            raise StaleMistake(f"the mistake is stale: {mistake.file} has no {mistake.old!r}")
        path.write_text(before.replace(mistake.old, mistake.new, 1))
        return Tree(copy, self.folder)


def findings(one, tree):
    """The findings of a check. A tree that cannot be evaluated is a finding."""
    try:
        return [str(finding) for finding in one.findings(tree)]
    except bicep.BicepError as error:
        return [str(error)]
