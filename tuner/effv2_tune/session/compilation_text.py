"""Formats what a device's compiler made of a study's buckets, as a table and as data for JSON."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from effv2_tune.report.quantities import human_bytes, human_seconds
from effv2_tune.session.forecast_text import (
    bucket_names,
    compiled_data,
    milliseconds,
    would_fit,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from effv2_tune.forecast.compiled import CompiledForecast
    from effv2_tune.forecast.study import BucketForecast, StudyForecast
    from effv2_tune.workers.compilations import CompiledProgram

_GIGA = 1e9
_KILO = 1e3
_COLUMN_LIMIT = 80
_COLUMNS = ("program", "CPU s", "HBM", "GFLOP", "GB", "est. ms", "all-reduces")


def lines(forecast: StudyForecast) -> Iterator[str]:
    """The compiled buckets of a forecast, line by line, in at most 80 columns."""
    place = forecast.target.placement
    limit = forecast.target.usable_memory
    memory = "" if limit is None else f", {human_bytes(limit)} each"
    yield f"compiled for {place.device_count} x {place.device_kind}{memory}"
    yield ""
    compiled = [(one, one.compiled) for one in forecast.buckets if one.compiled is not None]
    cells = [[_cells(program) for program in its.compilation.programs] for _, its in compiled]
    widths = [
        max(len(row[column]) for row in [_COLUMNS, *(row for rows in cells for row in rows)])
        for column in range(len(_COLUMNS))
    ]
    yield _row(_COLUMNS, widths)
    names = bucket_names([one.share.key for one, _ in compiled])
    for name, (one, its), rows in zip(names, compiled, cells, strict=True):
        yield f"{name}, {100 * one.share.share:.0f} % of the trials"
        yield from (_row(row, widths) for row in rows)
        yield from (f"  {line}" for line in _verdict(one, its))
    yield ""
    yield from _notes(compiled)


def as_data(forecast: StudyForecast) -> dict[str, Any]:
    """The compiled buckets as plain data; units are part of the keys."""
    compiled = [(one, one.compiled) for one in forecast.buckets if one.compiled is not None]
    first = compiled[0][1].compilation
    return {
        "device": forecast.target.placement.model_dump()
        | {"memory_bytes": forecast.target.usable_memory},
        "versions": first.versions,
        "folder": None if first.folder is None else str(first.folder),
        "buckets": [
            {
                "label": one.share.key.label,
                "bucket": one.share.key.model_dump(mode="json"),
                "share": one.share.share,
                "would_fit": would_fit(one),
                **compiled_data(its),
            }
            for one, its in compiled
        ],
    }


def program_name(program: CompiledProgram) -> str:
    """The name of a program; of an extraction with its split, as each has one."""
    return f"extract {program.split}" if program.kind == "extract" else program.kind


def _cells(program: CompiledProgram) -> list[str]:
    seconds = f"{program.compile_cpu_seconds:.0f}" + ("*" if program.reused else "")
    if not program.fits:
        needed = human_bytes(program.needed_bytes) if program.needed_bytes else "too much"
        return [program_name(program), seconds, f"{needed} !", "", "", "", ""]
    reduces = "none"
    if program.all_reduces:
        size = program.all_reduce_bytes
        reduces = f"{program.all_reduces}, {human_bytes(size) if size >= _KILO else f'{size} B'}"
    return [
        program_name(program),
        seconds,
        human_bytes(program.memory_bytes),
        f"{program.flops / _GIGA:,.3g}",
        f"{program.bytes_accessed / _GIGA:,.3g}",
        milliseconds(program.step_seconds),
        reduces,
    ]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = [cell.rjust(width) for cell, width in zip(cells[1:6], widths[1:6], strict=True)]
    return "  ".join(["", cells[0].ljust(widths[0]), *numbers, cells[6]]).rstrip()


def _verdict(one: BucketForecast, compiled: CompiledForecast) -> Iterator[str]:
    """Whether a bucket fits, and otherwise what would."""
    of = "" if compiled.limit is None else f" of {human_bytes(compiled.limit)}"
    whole = f"{human_bytes(compiled.memory)}{of} with everything that shares the memory"
    if compiled.fits:
        yield f"fits: {whole}"
        return
    yield f"! does not fit: {whole}"
    if one.is_large:
        yield "the target is predicted to fit it: its trials run there"
    yield from wrap(str(one.alternatives), _COLUMN_LIMIT - 2, subsequent_indent="  ")


def _notes(compiled: Sequence[tuple[BucketForecast, CompiledForecast]]) -> Iterator[str]:
    programs = [one for _, its in compiled for one in its.compilation.programs]
    seconds = sum(one.compile_cpu_seconds for one in programs if not one.reused)
    yield f"{human_seconds(seconds)} of processor time; GFLOP and GB: of a step, on one device"
    if any(one.reused for one in programs):
        yield "* found in the cache"
    yield "est. ms: the compiler's estimate, without all-reduces; nothing was timed"
    if not all(its.fits for _, its in compiled):
        yield "estimated to fit: by the formulas of plan, not compiled; one change each"
    for folder in {its.compilation.folder for _, its in compiled if its.compilation.folder}:
        yield "programs for the TPU host, in"
        yield f"  {folder}"
    versions = compiled[0][1].compilation.versions
    named = ", ".join(f"{name} {versions[name]}" for name in sorted(versions))
    yield f"  for hosts with {named}"
