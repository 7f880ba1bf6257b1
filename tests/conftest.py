"""Fixtures that every folder of tests uses."""

from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout the tests run in."""
    return REPO


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real traces kept beside the checkout; tests that need them are skipped without."""
    folder = REPO.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data beside the checkout")
    return folder
