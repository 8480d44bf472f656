"""Run all stages: load → normalise → override → surface → models → render → format."""

from __future__ import annotations

import json
import keyword
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codegen.render.package import package_files
from codegen.render.registry import registry_files
from codegen.render.resources import resource_files
from codegen.render.text import BANNER

from .diagnostics import (
    FIX_WITH_OVERRIDES,
    USE_SERVED_SCHEMA,
    Diagnostic,
    GenerationError,
    SchemaError,
)
from .docs_file import Docs, apply_docs, load_docs, model_docs, unmatched_docs
from .document import load, validate_document
from .models import ModelPlan, ModelSet, build_models
from .models.check import drop_contradictions
from .normalise import normalise
from .overrides import (
    Overrides,
    apply_overrides,
    load_overrides,
    merge_equal_paths,
    unused_rules,
)
from .released_names import load_names, with_given_names
from .surface import ReleasedNames, Surface, build_surface

__all__ = [
    "GENERATED_FOLDERS",
    "ROOT",
    "GeneratedPackage",
    "build",
    "read_generated",
    "read_reference",
    "replace_files",
    "validate_target",
    "write",
    "write_reference",
]

ROOT = Path(__file__).resolve().parent.parent
PINNED_SCHEMA = ROOT / "openapi" / "posthog.json"
OVERRIDES_FILE = ROOT / "openapi" / "overrides.yaml"
DOCS_FILE = ROOT / "openapi" / "docs.yaml"
RELEASED_NAMES_FILE = ROOT / "openapi" / "names.yaml"
DOCS_FOLDER = ROOT / "docs"
"""The folder of `reference.md` and `reference/`."""
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
    docs: Docs = field(default_factory=Docs)
    unused_overrides: int = 0
    """The number of overrides that do not apply, if the schema is not the pinned one."""

    @property
    def unmatched_docs(self) -> list[str]:
        """Entries of `docs.yaml` without a counterpart in the document."""
        return unmatched_docs(self.surface, self.docs)

    @property
    def model_names(self) -> dict[str, str]:
        """Public model names by component; a component without a model is not in it."""
        names = self.surface.class_names
        return {c: n for c, n in names.items() if n in self.models.exports}


def build(
    source: str | None = None,
    *,
    standalone: bool = False,
    overrides: Path | None = None,
    names: Path | None = None,
) -> GeneratedPackage:
    """Run all stages.

    Args:
        source: A file or URL; None for the pinned schema.
        standalone: Whether the files make a package of their own, not a part of `asyncposthog`.
        overrides: A user's file of overrides, which are applied after ours.
        names: A file of names that must not change: the `names.yaml` of a package. It may be
            missing.

    Raises:
        SchemaError: The document cannot be used.
        GenerationError: The document has an error that an override has to fix.
        ValueError: The file of overrides or of names is not valid.
    """
    try:
        return _build(source, standalone=standalone, overrides=overrides, names=names)
    except RecursionError:
        # The stages recurse into schemas. A limit on the nesting of the document does not bound
        # this, because schemas can be nested through references as well.
        reason = "its schemas refer to one another too deeply"
        remedy = USE_SERVED_SCHEMA
        raise SchemaError(source or str(PINNED_SCHEMA), reason, remedy) from None
    except GenerationError as error:
        if source is None and overrides is None:
            raise
        raise GenerationError(error.diagnostics, FIX_WITH_OVERRIDES) from None


def _build(
    source: str | None, *, standalone: bool, overrides: Path | None, names: Path | None
) -> GeneratedPackage:
    ours = load_overrides(OVERRIDES_FILE)
    theirs = load_overrides(overrides, require_source=False) if overrides else Overrides()
    released = load_names(RELEASED_NAMES_FILE)
    package_names = load_names(names) if names else ReleasedNames({}, {})
    user_names = {o.operation: str(o.get("name")) for o in theirs.operations if o.get("name")}
    user_names |= theirs.names.methods
    document, diagnostics, unused = _load_document(source, ours, theirs)
    docs = load_docs(DOCS_FILE)
    both = ours.followed_by(theirs)
    surface = build_surface(document, both, released, with_given_names(package_names, user_names))
    clashes = both.names.clashes(surface.class_names)
    if clashes and source is None:
        # Only the pinned schema must have a name for each: in another schema, a component that lost
        # its name keeps the derived one.
        raise GenerationError(clashes)
    surface = apply_docs(surface, docs)
    if not surface.methods:
        skipped = surface.skipped
        example = f": {skipped[0].operation}: {skipped[0].reason}" if skipped else ""
        reason = f"no method can be made of any of its operations{example}"
        remedy = USE_SERVED_SCHEMA
        raise SchemaError(f"{source or PINNED_SCHEMA}#/paths", reason, remedy)
    models = build_models(
        ModelPlan(
            document=surface.model_document,
            names=surface.class_names,
            users=surface.users,
            docs=model_docs(surface, docs),
            lenient=source is not None or overrides is not None,
        )
    )
    field_docs = {name: doc.fields for name, doc in model_docs(surface, docs).items()}
    files = {
        **registry_files(surface, field_docs, standalone=standalone),
        **resource_files(surface),
    }
    files |= models.files
    if standalone:
        files |= package_files()
    return GeneratedPackage(
        format_files(files),
        surface,
        models,
        package_names if standalone else released,
        (*diagnostics, *surface.diagnostics, *models.diagnostics),
        docs,
        unused,
    )


def _load_document(
    source: str | None, ours: Overrides, theirs: Overrides
) -> tuple[dict[str, Any], tuple[Diagnostic, ...], int]:
    """Return the patched document, diagnostics, and the number of overrides that do not apply.

    In the pinned schema, each of our overrides that does not apply is a diagnostic, because it has
    to be removed. In any other schema they are only counted: the overrides were not written for it,
    and its user cannot change them. Each of a user's overrides that does not apply is a diagnostic.
    """
    diagnostics: list[Diagnostic] = []
    if source is None:
        document = json.loads(PINNED_SCHEMA.read_text(encoding="utf-8"))
    else:
        # The pinned schema is stored without prose. In another instance's schema there may be
        # descriptions, and they become docstrings.
        normalised = normalise(load(source), keep_prose=True)
        document = normalised.document
        diagnostics += normalised.diagnostics
    document, merged = merge_equal_paths(document)
    diagnostics += merged
    patched, inapplicable = apply_overrides(document, ours)
    unused = 0
    if source is None:
        diagnostics += (*inapplicable, *unused_rules(patched, ours))
    else:
        unused = sum("does not apply" in diagnostic.reason for diagnostic in inapplicable)
    if theirs != Overrides():
        patched, inapplicable = apply_overrides(patched, theirs)
        diagnostics += (*inapplicable, *unused_rules(patched, theirs))
        # An override can put anything anywhere. The stages after this one rely on a valid document.
        validate_document(patched, "the document with your overrides")
        normalise(patched)
    if source is not None or theirs != Overrides():
        diagnostics += drop_contradictions(patched)
    return patched, tuple(diagnostics), unused


def format_files(files: Mapping[str, str]) -> dict[str, str]:
    """Sort imports, remove unused ones and format with ruff."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, text in files.items():
            _write_file(root / name, text)
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


def read_reference(docs: Path) -> dict[str, str]:
    """Return the text of every page of the reference on disk, by path below `docs/`."""
    pages = [docs / "reference.md", *sorted((docs / "reference").glob("*.md"))]
    return {
        path.relative_to(docs).as_posix(): path.read_text(encoding="utf-8")
        for path in pages
        if path.exists()
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
    # JSON has no comments, so these files cannot start with the banner.
    for name in ("registry/schemas.json", "registry/docs.json"):
        existing.pop(name, None)
    if package != PACKAGE_FOLDER and (package / "__init__.py").exists():
        existing["__init__.py"] = (package / "__init__.py").read_text(encoding="utf-8")
    for name, text in existing.items():
        if text.strip() and not text.startswith(BANNER):
            raise ValueError(
                f"{package / name} was not generated, and would be overwritten or deleted. Move it"
                ", or give --out another folder."
            )


def write_reference(files: Mapping[str, str], docs: Path) -> None:
    """Write the pages of the reference and delete stale ones."""
    _write(files, docs, set(read_reference(docs)) - set(files))


def write(files: Mapping[str, str], package: Path) -> int:
    """Write the generated files and delete stale ones; return the number of changed files."""
    return _write(files, package, set(read_generated(package)) - set(files))


def _write(files: Mapping[str, str], package: Path, stale: Set[str]) -> int:
    changed = replace_files(files, package)
    for name in stale:
        (package / name).unlink()
    return len(stale) + changed


def replace_files(files: Mapping[str, str], folder: Path) -> int:
    """Write files to a folder; return the number of those that changed.

    They are written to a temporary folder first and then moved, so that an error such as a full
    disk leaves the folder as it was.
    """
    # Files that do not change keep their modification time, for tools that watch files.
    changed = [name for name, text in files.items() if _read(folder / name) != text]
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as staged:
        for name in changed:
            _write_file(Path(staged) / name, files[name])
        for name in changed:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(staged) / name).replace(folder / name)
    return len(changed)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _write_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
