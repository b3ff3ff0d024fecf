"""Checks what runs the service: templates, gateway policies, alerts, pipeline and runbook.

Each check is run on the tree, where it must find nothing, and then on copies of the tree with one mistake each, which it
must find: a check that finds nothing there has stopped looking.
"""

import sys
import tempfile
import time
from pathlib import Path

from checks import alerts, gateway, operations, pipeline, published, scripts, slots, templates, tools  # noqa: F401  (they register themselves)
from harness import CHECKS, Skipped, StaleMistake, Tree, findings

ROOT = Path(__file__).resolve().parents[2]


def main():
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(ROOT, folder)
        for one in CHECKS:
            started = time.monotonic()
            try:
                if one.slow and "--full" not in sys.argv:
                    raise Skipped("only with --full")
                problems = findings(one, tree) or list(unnoticed_mistakes(one, tree))
            except Skipped as reason:
                print(f"SKIPPED  {one.name}: {reason}")
                continue
            outcome = "FAILED" if problems else "ok"
            print(f"{outcome:8} {one.name} ({len(one.mistakes)} mistakes, {time.monotonic() - started:.1f} s)")
            for problem in problems:
                print(f"           {problem}")
            failed = failed or bool(problems)
    return 1 if failed else 0


def unnoticed_mistakes(one, tree):
    """The mistakes that a check does not find."""
    for mistake in one.mistakes:
        try:
            found = findings(one, tree.with_mistake(mistake))
        except StaleMistake as stale:
            yield str(stale)
            continue
        if not any(mistake.finds in finding for finding in found):
            made = f"{mistake.file}: {mistake.old!r} for {mistake.new!r}"
            yield f"misses a mistake: after {made} it should report {mistake.finds!r}, but reports {found or 'nothing'}"


if __name__ == "__main__":
    sys.exit(main())
