"""Run all stages: load → normalise → override → surface → models → render → format."""

from __future__ import annotations

import json
import keyword
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen.render.package import package_files
from codegen.render.registry import registry_files
from codegen.render.resources import resource_files
from codegen.render.text import BANNER

from .diagnostics import USE_SERVED_SCHEMA, Diagnostic, GenerationError, SchemaError
from .document import load
from .models import ModelPlan, ModelSet, build_models
from .models.check import drop_contradictions
from .normalise import normalise
from .overrides import Overrides, apply_overrides, load_overrides
from .released_names import load_names
from .surface import ReleasedNames, Surface, build_surface

__all__ = [
    "GENERATED_FOLDERS",
    "ROOT",
    "GeneratedPackage",
    "build",
    "read_generated",
    "validate_target",
    "write",
]

ROOT = Path(__file__).resolve().parent.parent
PINNED_SCHEMA = ROOT / "openapi" / "posthog.json"
OVERRIDES_FILE = ROOT / "openapi" / "overrides.yaml"
RELEASED_NAMES_FILE = ROOT / "openapi" / "names.yaml"
REFERENCE_FILE = ROOT / "docs" / "reference.md"
PACKAGE_FOLDER = ROOT / "src" / "asyncposthog"
GENERATED_FOLDERS = ("models", "registry", "resources")
"""Folders of the package that hold generated files only."""


@dataclass(frozen=True, slots=True)
class GeneratedPackage:
    """The result of one run."""

    files: Mapping[str, str]
    surface: Surface
    models: ModelSet
    released: ReleasedNames
    diagnostics: tuple[Diagnostic, ...]
    unused_overrides: int = 0
    """The number of overrides that do not apply, if the schema is not the pinned one."""

    @property
    def model_names(self) -> dict[str, str]:
        """Public model names by component; a component without a model is not in it."""
        names = self.surface.class_names
        return {c: n for c, n in names.items() if n in self.models.exports}


def build(source: str | None = None, *, standalone: bool = False) -> GeneratedPackage:
    """Run all stages.

    Args:
        source: A file or URL; None for the pinned schema.
        standalone: Whether the files make a package of their own, not a part of `asyncposthog`.

    Raises:
        SchemaError: The document cannot be used.
        GenerationError: The document has an error that an override has to fix.
    """
    try:
        return _build(source, standalone=standalone)
    except RecursionError:
        # The stages recurse into schemas. A limit on the nesting of the document does not bound
        # this, because schemas can be nested through references as well.
        reason = "its schemas refer to one another too deeply"
        remedy = USE_SERVED_SCHEMA
        raise SchemaError(source or str(PINNED_SCHEMA), reason, remedy) from None


def _build(source: str | None, *, standalone: bool) -> GeneratedPackage:
    overrides = load_overrides(OVERRIDES_FILE)
    released = load_names(RELEASED_NAMES_FILE)
    document, diagnostics, unused = _load_document(source, overrides)
    surface = build_surface(document, overrides, released)
    if not surface.methods:
        skipped = surface.skipped
        example = f": {skipped[0].operation}: {skipped[0].reason}" if skipped else ""
        reason = f"no method can be made of any of its operations{example}"
        remedy = USE_SERVED_SCHEMA
        raise SchemaError(f"{source or PINNED_SCHEMA}#/paths", reason, remedy)
    models = build_models(
        ModelPlan(
            document=surface.document,
            names=surface.class_names,
            users=surface.users,
            lenient=source is not None,
        )
    )
    files = {**registry_files(surface, standalone=standalone), **resource_files(surface)}
    files |= models.files
    if standalone:
        files |= package_files()
    return GeneratedPackage(
        format_files(files),
        surface,
        models,
        released,
        (*diagnostics, *surface.diagnostics, *models.diagnostics),
        unused,
    )


def _load_document(
    source: str | None, overrides: Overrides
) -> tuple[dict[str, Any], tuple[Diagnostic, ...], int]:
    """Return the patched document, diagnostics, and the number of overrides that do not apply.

    In the pinned schema, each override that does not apply is a diagnostic, because it has to be
    removed. In any other schema they are only counted: the overrides were not written for it, and
    its user cannot change them.
    """
    if source is None:
        document = json.loads(PINNED_SCHEMA.read_text(encoding="utf-8"))
        return *apply_overrides(document, overrides), 0
    # The pinned schema is stored without prose. In another instance's schema there may be
    # descriptions, and they become docstrings.
    normalised = normalise(load(source), keep_prose=True)
    patched, unused = apply_overrides(normalised.document, overrides)
    return patched, (*normalised.diagnostics, *drop_contradictions(patched)), len(unused)


def format_files(files: Mapping[str, str]) -> dict[str, str]:
    """Sort imports, remove unused ones and format with ruff."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        _ruff("check", "--fix", "--quiet", "--select", "I,F401,RUF022", ".", cwd=root)
        _ruff("format", "--quiet", ".", cwd=root)
        return {name: (root / name).read_text(encoding="utf-8") for name in sorted(files)}


def _ruff(command: str, *arguments: str, cwd: Path) -> None:
    # Isolated, so that the configuration of the user's project has no effect on the result.
    options = ("--isolated", "--no-cache", "--line-length", "100", "--target-version", "py311")
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "ruff", command, *options, *arguments],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        first_line = (result.stderr or result.stdout).strip().splitlines()[:1]
        reason = (
            f"the generated code is not valid Python, which is a bug of the generator: {first_line}"
        )
        raise GenerationError([Diagnostic("#", reason)])


def read_generated(package: Path) -> dict[str, str]:
    """Return the text of every generated file on disk, by path in the package."""
    return {
        str(path.relative_to(package)): path.read_text(encoding="utf-8")
        for folder in GENERATED_FOLDERS
        for path in sorted((package / folder).rglob("*"))
        if path.suffix in {".py", ".json"}
    }


def validate_target(package: Path) -> None:
    """Check that generated files can be written to a folder.

    Raises:
        ValueError: The name of the folder is not a package name, or a file that was not generated
            would be overwritten or deleted.
    """
    if package.exists() and not package.is_dir():
        raise ValueError(f"{package} is a file. Give --out a folder.")
    name = package.resolve().name
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(
            f"{package}: {name!r} is not a package name that can be imported. Give --out a folder "
            "whose name is a Python identifier, such as my_posthog."
        )
    existing = read_generated(package)
    # JSON has no comments, so this file cannot start with the banner.
    existing.pop("registry/schemas.json", None)
    if package != PACKAGE_FOLDER and (package / "__init__.py").exists():
        existing["__init__.py"] = (package / "__init__.py").read_text(encoding="utf-8")
    for name, text in existing.items():
        if text.strip() and not text.startswith(BANNER):
            raise ValueError(
                f"{package / name} was not generated, and would be overwritten or deleted. Move it"
                ", or give --out another folder."
            )


def write(files: Mapping[str, str], package: Path) -> int:
    """Write the generated files and delete stale ones; return the number of changed files."""
    stale = set(read_generated(package)) - set(files)
    for name in stale:
        (package / name).unlink()
    changed = len(stale)
    for name, text in files.items():
        path = package / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue  # keep the modification time, for tools that watch files
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        changed += 1
    return changed
