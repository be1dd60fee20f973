"""No damage to a file is used silently, and none is a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.end_to_end.damaged_files import damaged_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.damaged_files import DamagedSites


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DamagedSites]:
    """An undamaged site, made and read once for all cases."""
    with damaged_sites(tmp_path_factory.mktemp("damaged") / "sites") as made:
        yield made


@pytest.mark.parametrize(
    ("seed", "count"),
    [("short ", 60), pytest.param("long ", 240, marks=[pytest.mark.slow, pytest.mark.long])],
)
def test_a_damaged_file_is_noticed_or_makes_no_difference(
    sites: DamagedSites, seed: str, count: int
) -> None:
    figures = sites.run_cases(count, seed=seed)

    assert not figures.defects, figures
    assert figures.messages.total() > count / 10
    assert figures.restored > 0
