"""Measures the time and memory of loading 5,000 photographs of mixed sizes and modes.

    python benchmarks/data.py [--images 5000] [--side 224] [--keep FOLDER]

Generates the folder (a minute or so, not measured), then loads it in fresh processes: with one core
and with all, to disk and to memory, and again from the finished store. All files have been read
before, so that no load waits for the disk. Writes benchmarks/results/data.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from effv2_tune.data import load_dataset
from effv2_tune.data.storage_options import available_cores
from effv2_tune.study.recipe import DataSpec

RESULTS = Path(__file__).parent / "results" / "data.md"
CLASSES = 10
#: Kinds of files, and how many of each hundred there are.
KINDS = {
    "JPEG": 70,
    "JPEG with Exif rotation": 8,
    "grey JPEG": 6,
    "CMYK JPEG": 2,
    "RGB PNG": 4,
    "RGBA PNG": 4,
    "palette PNG": 4,
    "16-bit grey PNG": 2,
}


@dataclass(frozen=True)
class Load:
    """A configuration of the loader.

    Attributes:
        name: In the table.
        cores: Threads that decode.
        memory_limit: Bytes of decoded images that stay in memory.
        fresh: Whether the cache is emptied first.
    """

    name: str
    cores: int
    memory_limit: int
    fresh: bool


def generate(folder: Path, count: int) -> None:
    """Write ``count`` images of unequal classes, the same ones every time."""
    with ProcessPoolExecutor(available_cores()) as processes:
        list(processes.map(partial(write_image, folder), range(count), chunksize=50))


def write_image(folder: Path, number: int) -> None:
    """Write one image: smooth colours and some grain, 320 to 1,600 pixels wide."""
    random = np.random.default_rng(number)
    width, height = (int(side) for side in random.integers(320, 1601, 2))
    colours = random.integers(0, 256, (height // 40, width // 40, 3), np.uint8)
    smooth = Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)
    grain = random.integers(-8, 9, (height, width, 1))
    image = Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8))
    label = int(CLASSES * random.random() ** 1.5)  # the first classes are the largest
    kind = random.choice(list(KINDS), p=np.array(list(KINDS.values())) / 100)
    path = folder / f"class {label}" / f"{number:05}"
    path.parent.mkdir(parents=True, exist_ok=True)
    save(image, str(kind), path)


def save(image: Image.Image, kind: str, path: Path) -> None:
    """Write ``image`` as a file of this kind."""
    if kind == "JPEG with Exif rotation":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(path.with_suffix(".jpg"), quality=85, exif=exif)
    elif kind.endswith("JPEG"):
        mode = {"JPEG": "RGB", "grey JPEG": "L", "CMYK JPEG": "CMYK"}[kind]
        image.convert(mode).save(path.with_suffix(".jpg"), quality=85)
    elif kind == "16-bit grey PNG":
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(path.with_suffix(".png"), compress_level=1)
    else:
        mode = {"RGB PNG": "RGB", "RGBA PNG": "RGBA", "palette PNG": "P"}[kind]
        image.convert(mode).save(path.with_suffix(".png"), compress_level=1)


def measure(folder: Path, cache: Path, side: int, load: Load) -> dict[str, float | str]:
    """Load in a fresh process; seconds, peak private memory in bytes, and the checksum."""
    if load.fresh:
        shutil.rmtree(cache, ignore_errors=True)
    arguments = [folder, cache, side, load.cores, load.memory_limit]
    command = [sys.executable, __file__, "--measured", json.dumps([str(one) for one in arguments])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float | str] = json.loads(done.stdout)
    return found


def measured(folder: str, cache: str, side: str, cores: str, memory_limit: str) -> None:
    """Load in this process, and print the result for :func:`measure`."""
    peak = own_bytes()

    def look(_: object) -> None:
        nonlocal peak
        peak = max(peak, own_bytes())

    spec = DataSpec(name="folder", path=folder, test=0.1, storage_size=int(side))
    start = time.perf_counter()
    dataset = load_dataset(
        spec,
        base=Path(),
        cache=Path(cache),
        cores=int(cores),
        memory_limit=int(memory_limit),
        on_progress=look,
    )
    seconds = time.perf_counter() - start
    look(None)
    print(json.dumps({"seconds": seconds, "peak": peak, "digest": dataset.digest}))


def own_bytes() -> int:
    """Private memory: without mapped files, which the system may drop."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def report(folder: Path, side: int, rows: list[tuple[Load, dict[str, float | str]]]) -> str:
    """The results as a page."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    slowest = float(rows[0][1]["seconds"])
    decoded = f"stored at {side} x {side} ({len(files) * side * side * 3 / 1e6:,.0f} MB decoded)"
    lines = [
        "# Loading a folder of photographs",
        "",
        "Written by `python benchmarks/data.py`; see its first lines for what is measured.",
        "",
        f"{len(files):,} images, {megabytes:,.0f} MB, sides of 320 to 1,600 pixels, {decoded}.",
        "Of each hundred:",
        ", ".join(f"{share} {kind}" for kind, share in KINDS.items()) + ".",
        "",
        f"{platform.machine()}, {available_cores()} cores, Python {platform.python_version()}",
        f"Pillow {Image.__version__}, numpy {np.__version__}.",
        "",
        "| | seconds | images a second | times as fast | peak memory of its own, MB |",
        "|---|---|---|---|---|",
    ]
    for load, found in rows:
        seconds, peak = float(found["seconds"]), float(found["peak"])
        lines.append(
            f"| {load.name} | {seconds:.1f} | {len(files) / seconds:,.0f} | "
            f"{slowest / seconds:.2f} | {peak / 1e6:,.0f} |"
        )
    same = len({found["digest"] for _, found in rows}) == 1
    lines += ["", f"All digests are {'equal' if same else 'DIFFERENT'}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Generate, load and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--keep", type=Path, help="generate into this folder, and keep it")
    parser.add_argument("--measured", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measured:
        measured(*json.loads(arguments.measured))
        return
    cores, in_memory = available_cores(), 2**40
    loads = [
        Load("1 core, to disk", 1, 0, fresh=True),
        Load(f"all {cores} cores, to disk", cores, 0, fresh=True),
        Load("again, from the finished store", cores, 0, fresh=False),
        Load("1 core, to memory", 1, in_memory, fresh=True),
        Load(f"all {cores} cores, to memory", cores, in_memory, fresh=True),
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary, "photos")
        if not folder.is_dir():
            generate(folder, arguments.images)
        for path in folder.rglob("*.*"):  # so that no load waits for the disk where others do not
            path.read_bytes()
        cache = Path(temporary, "cache")
        rows = [(load, measure(folder, cache, arguments.side, load)) for load in loads]
        text = report(folder, arguments.side, rows)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
