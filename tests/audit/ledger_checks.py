"""What must be true after many processes have worked on one ledger.

The checks of figures 1 to 3, of their short forms, and of the defects that are put in to see that they bite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from audit.ledger import Ledger
from audit.limits import Limits
from tests.audit.ledger_samples import ENVIRONMENT
from tests.audit.ledger_workers import Answer


def check_creations(url: str, answers: Sequence[Answer], limits: Limits, requests: int) -> None:
    """Assert that the limits were met exactly, that nobody saw an error, and that the log tells the same."""
    assert [answer.error for answer in answers if answer.error] == []
    assert len(answers) == requests
    accepted = Counter(owner for answer in answers for owner in answer.admitted)
    denied = sum(len(answer.denied) for answer in answers)
    assert accepted.total() + denied == requests
    assert accepted.total() == min(limits.stores_total, requests)
    assert max(accepted.values()) <= min(limits.stores_per_owner, limits.creates_per_hour)
    with Ledger.open(url) as ledger:
        usage = ledger.usage(ENVIRONMENT, limits, {})
        assert {owner.owner: owner.used for owner in usage.owners} == dict(accepted)
        assert ledger.verify().ok
        assert ledger.open_runs(ENVIRONMENT) == []
        outcomes = Counter(e.outcome for e in ledger.entries(ENVIRONMENT, limit=10 * requests))
        assert outcomes == Counter({"unknown": accepted.total(), "success": accepted.total(), "denied": denied})


def check_chain(url: str, answers: Sequence[Answer], entries: int) -> None:
    """Assert that what everybody has written is one chain, and that nobody saw an error."""
    assert [answer.error for answer in answers if answer.error] == []
    assert len(answers) == entries
    with Ledger.open(url) as ledger:
        found = ledger.verify()
        assert found.ok, str(found)
        assert found.entries == entries
