"""Reports are made of a ledger that the test writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reports.book import Book, a_site
from upkeep.ledger import Ledger, default_url


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    written: Book
    ledger = Ledger(default_url(tmp_path), clock=lambda: written.now)
    written = Book(ledger, a_site())
    yield written
