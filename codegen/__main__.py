"""The command line of the code generator: `python -m codegen --help`."""

from __future__ import annotations

import argparse
import difflib
import gc
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from codegen.render.reference import reference_files

from . import pipeline
from .diagnostics import GenerationError, SchemaError
from .document import dump, fetch, load
from .drift import drift
from .normalise import normalise
from .released_names import dump_names, dump_package_names, removed_names
from .report import report, unused_overrides

_DIFF_LINES = 80
_MAX_DIAGNOSTICS = 40
"""Warnings that `generate` prints. `report` prints all of them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except (SchemaError, GenerationError, ValueError, OSError) as error:
        print(f"codegen: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m codegen", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "fetch", help="download an instance's schema, normalise it and pin it"
    )
    command.add_argument("--host", required=True)
    command.add_argument("--out", type=Path, default=pipeline.PINNED_SCHEMA)
    command = commands.add_parser("normalise", help="normalise a schema and pin it")
    command.add_argument("--schema", required=True, help="a file or URL, YAML or JSON")
    command.add_argument("--out", type=Path, default=pipeline.PINNED_SCHEMA)
    command = commands.add_parser("generate", help="write models, resources and registry")
    command.add_argument("--schema", help="a file or URL (default: the pinned schema)")
    command.add_argument("--out", type=Path, help="a folder, for a package of its own")
    _add_user_files(command)
    command = commands.add_parser("check", help="fail if generated files or names are stale")
    command = commands.add_parser("report", help="list resources, totals and warnings")
    command.add_argument("--schema", help="a file or URL (default: the pinned schema)")
    _add_user_files(command)
    command = commands.add_parser("drift", help="compare an instance's schema with the pinned one")
    command.add_argument("--host", required=True)
    return parser


def _add_user_files(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--overrides", type=Path, help="a file of your overrides, applied after those of the client"
    )
    command.add_argument(
        "--names",
        type=Path,
        help="the file of names that must not change (default: names.yaml in the folder of --out)",
    )


def _fetch(options: argparse.Namespace) -> int:
    return _pin(fetch(options.host), options.out)


def _normalise(options: argparse.Namespace) -> int:
    return _pin(load(options.schema), options.out)


def _pin(document: Mapping[str, object], out: Path) -> int:
    result = normalise(document)
    out.write_text(dump(result.document), encoding="utf-8")
    for diagnostic in result.diagnostics:
        print(f"warning: {diagnostic.pointer}: {diagnostic.reason}")
    print(f"wrote {out}: {len(result.document['paths'])} paths")
    return 0


def _generate(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    is_own_package = options.out is None
    if is_own_package and (options.overrides or options.names):
        raise ValueError(
            "--overrides and --names are for a package of your own. Give --out a folder as well; "
            "the overrides of this client are in openapi/overrides.yaml."
        )
    target = pipeline.PACKAGE_FOLDER if is_own_package else options.out
    pipeline.validate_target(target)
    names_file = None if is_own_package else options.names or options.out / "names.yaml"
    generated = pipeline.build(
        options.schema,
        standalone=not is_own_package,
        overrides=options.overrides,
        names=names_file,
    )
    files = dict(generated.files)
    if names_file is not None:
        names = dump_package_names(generated.released, generated.surface, generated.model_names)
        if options.names:
            pipeline.replace_files({names_file.name: names}, names_file.parent)
        else:
            files[names_file.name] = names
    changed = pipeline.write(files, target)
    if is_own_package and options.schema is None:
        names = dump_names(generated.released, generated.surface, generated.model_names)
        pipeline.RELEASED_NAMES_FILE.write_text(names, encoding="utf-8")
        pipeline.write_reference(reference_files(generated.surface), pipeline.DOCS_FOLDER)
    # The warnings about the pinned schema are known; `report` lists them.
    if options.schema is not None or options.overrides is not None:
        _print_diagnostics(generated)
    if names_file is not None:
        for name in removed_names(generated.released, generated.surface, generated.model_names):
            print(f"gone from the schema: {name}")
    seconds = time.perf_counter() - started
    print(
        f"{len(generated.files)} files, {changed} changed, {len(generated.surface.methods)} "
        f"methods, {len(generated.models.exports)} model names, {seconds:.1f} s"
    )
    return 0


def _print_diagnostics(generated: pipeline.GeneratedPackage) -> None:
    """Print what was skipped, dropped or interpreted in a schema that is not the pinned one."""
    for skipped in generated.surface.skipped:
        print(f"skipped: {skipped.operation}: {skipped.reason}")
    if generated.unused_overrides:
        print(unused_overrides(generated.unused_overrides))
    # The list is cut off, so changed method names come first: callers notice those.
    naming_diagnostics = generated.surface.diagnostics
    diagnostics = [
        *naming_diagnostics,
        *(
            diagnostic
            for diagnostic in generated.diagnostics
            if diagnostic not in naming_diagnostics
        ),
    ]
    for diagnostic in diagnostics[:_MAX_DIAGNOSTICS]:
        print(f"warning: {diagnostic.pointer}: {diagnostic.reason}")
    remaining = len(diagnostics) - _MAX_DIAGNOSTICS
    if remaining > 0:
        print(f"{remaining} more warnings; `python -m codegen report --schema …` lists them")


def _check(options: argparse.Namespace) -> int:
    generated = pipeline.build()
    errors = [
        f"a released name would be removed: {name}"
        for name in removed_names(generated.released, generated.surface, generated.model_names)
    ]
    names = dump_names(generated.released, generated.surface, generated.model_names)
    if pipeline.RELEASED_NAMES_FILE.read_text(encoding="utf-8") != names:
        errors.append("openapi/names.yaml is stale")
    pages = reference_files(generated.surface)
    on_disk = pipeline.read_reference(pipeline.DOCS_FOLDER)
    errors += [
        f"docs/{page} is stale"
        for page in sorted({*pages, *on_disk})
        if pages.get(page) != on_disk.get(page)
    ]
    errors += [f"openapi/docs.yaml: {error}" for error in generated.unmatched_docs]
    stale = _stale_file_diffs(pipeline.read_generated(pipeline.PACKAGE_FOLDER), generated.files)
    if stale:
        errors.append("generated files are stale or were edited; run `make generate`:")
        errors += stale
    print("\n".join(errors) if errors else f"{len(generated.files)} generated files are fresh")
    return 1 if errors else 0


def _stale_file_diffs(on_disk: Mapping[str, str], generated: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    for name in sorted({*on_disk, *generated}):
        if on_disk.get(name) == generated.get(name):
            continue
        difference = list(
            difflib.unified_diff(
                on_disk.get(name, "").splitlines(),
                generated.get(name, "").splitlines(),
                f"{name} (on disk)",
                f"{name} (generated)",
                lineterm="",
                n=1,
            )
        )
        # A line of registry/schemas.json can have many thousand characters.
        lines += [line[:200] for line in difference[:_DIFF_LINES]]
        if len(difference) > _DIFF_LINES:
            lines.append(f"… {len(difference) - _DIFF_LINES} more lines")
    return lines


def _report(options: argparse.Namespace) -> int:
    generated = pipeline.build(options.schema, overrides=options.overrides, names=options.names)
    print(report(generated))
    reached = {o for m in generated.surface.methods for o in m.operation.schema_operations}
    missing = set(generated.surface.schema_operations) - reached
    return 1 if missing or generated.surface.skipped else 0


def _drift(options: argparse.Namespace) -> int:
    pinned = json.loads(pipeline.PINNED_SCHEMA.read_text(encoding="utf-8"))
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
    gc.disable()  # nearly all that a command makes is there until it ends
    raise SystemExit(main())
