"""The generator's command line: `python -m codegen --help`."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from codegen.render.reference import reference

from . import pipeline
from .diagnostics import GenerationError, SchemaError
from .drift import drift
from .names import dump_names, removed_names
from .normalise import normalise
from .report import report, unused_overrides
from .schema import dump, fetch, load

_DIFF_LINES = 80
_FINDINGS = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except (SchemaError, GenerationError, ValueError, OSError) as error:
        print(f"codegen: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m codegen", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("fetch", help="get an instance's schema and pin it, normalised")
    one.add_argument("--host", required=True)
    one.add_argument("--out", type=Path, default=pipeline.PINNED)
    one = commands.add_parser("normalise", help="bring a schema to the pinned form")
    one.add_argument("--schema", required=True, help="a file or URL, YAML or JSON")
    one.add_argument("--out", type=Path, default=pipeline.PINNED)
    one = commands.add_parser("generate", help="write models, services and registry")
    one.add_argument("--schema", help="a file or URL; the pinned schema if left out")
    one.add_argument("--out", type=Path, help="a folder for a package of its own")
    one = commands.add_parser("check", help="fail when generated files or names are stale")
    one = commands.add_parser("report", help="list resources, totals and what is left out")
    one.add_argument("--schema", help="a file or URL; the pinned schema if left out")
    one = commands.add_parser("drift", help="compare an instance's schema with the pinned one")
    one.add_argument("--host", required=True)
    return parser


def _fetch(options: argparse.Namespace) -> int:
    return _pin(fetch(options.host), options.out)


def _normalise(options: argparse.Namespace) -> int:
    return _pin(load(options.schema), options.out)


def _pin(document: Mapping[str, object], out: Path) -> int:
    normalised = normalise(document)
    out.write_text(dump(normalised.document), encoding="utf-8")
    for finding in normalised.findings:
        print(f"finding: {finding.pointer}: {finding.reason}")
    print(f"wrote {out}: {len(normalised.document['paths'])} paths")
    return 0


def _generate(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    own = options.out is None
    target = pipeline.PACKAGE if own else options.out
    pipeline.check_target(target)
    generated = pipeline.build(options.schema, standalone=not own)
    changed = pipeline.write(generated.files, target)
    if own and options.schema is None:
        names = dump_names(generated.released, generated.surface, generated.model_names)
        pipeline.NAMES.write_text(names, encoding="utf-8")
        pipeline.REFERENCE.write_text(reference(generated.surface), encoding="utf-8")
    if options.schema is not None:
        _say_what_changed(generated)
    seconds = time.perf_counter() - started
    print(
        f"{len(generated.files)} files, {changed} changed, {len(generated.surface.methods)} "
        f"methods, {len(generated.models.exports)} model names, {seconds:.1f} s"
    )
    return 0


def _say_what_changed(generated: pipeline.Generated) -> None:
    """Print what a user of the generated package has to know of the schema it is made from."""
    for one in generated.surface.left_out:
        print(f"left out: {one.operation}: {one.reason}")
    if generated.unused_overrides:
        print(unused_overrides(generated.unused_overrides))
    # What changes the name of a method comes first: it is what a user meets first.
    names = generated.surface.findings
    findings = [*names, *(found for found in generated.findings if found not in names)]
    for finding in findings[:_FINDINGS]:
        print(f"finding: {finding.pointer}: {finding.reason}")
    rest = len(findings) - _FINDINGS
    if rest > 0:
        print(f"{rest} more findings; `python -m codegen report --schema …` lists them")


def _check(options: argparse.Namespace) -> int:
    generated = pipeline.build()
    problems = [
        f"a released name would vanish: {name}"
        for name in removed_names(generated.released, generated.surface, generated.model_names)
    ]
    names = dump_names(generated.released, generated.surface, generated.model_names)
    if pipeline.NAMES.read_text(encoding="utf-8") != names:
        problems.append("openapi/names.yaml is stale")
    if pipeline.REFERENCE.read_text(encoding="utf-8") != reference(generated.surface):
        problems.append("docs/reference.md is stale")
    stale = _stale(pipeline.read_owned(pipeline.PACKAGE), generated.files)
    if stale:
        problems.append("generated files are stale or were edited; run `make generate`:")
        problems += stale
    print("\n".join(problems) if problems else f"{len(generated.files)} generated files are fresh")
    return 1 if problems else 0


def _stale(disk: Mapping[str, str], fresh: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    for name in sorted({*disk, *fresh}):
        if disk.get(name) == fresh.get(name):
            continue
        difference = list(
            difflib.unified_diff(
                disk.get(name, "").splitlines(),
                fresh.get(name, "").splitlines(),
                f"{name} (on disk)",
                f"{name} (generated)",
                lineterm="",
                n=1,
            )
        )
        lines += [line[:200] for line in difference[:_DIFF_LINES]]
        if len(difference) > _DIFF_LINES:
            lines.append(f"… {len(difference) - _DIFF_LINES} more lines")
    return lines


def _report(options: argparse.Namespace) -> int:
    generated = pipeline.build(options.schema)
    print(report(generated))
    reached = {o for m in generated.surface.methods for o in m.operation.schema_operations}
    missing = set(generated.surface.schema_operations) - reached
    return 1 if missing or generated.surface.left_out else 0


def _drift(options: argparse.Namespace) -> int:
    pinned = json.loads(pipeline.PINNED.read_text(encoding="utf-8"))
    lines = drift(pinned, normalise(fetch(options.host)).document)
    print("\n".join(lines) if lines else "no drift")
    return 1 if lines else 0


_COMMANDS = {
    "fetch": _fetch,
    "normalise": _normalise,
    "generate": _generate,
    "check": _check,
    "report": _report,
    "drift": _drift,
}

if __name__ == "__main__":
    raise SystemExit(main())
