"""Facts of an Active Directory domain, over LDAP alone: one search per class of objects and a few single reads.

Searches narrow by class only, never by a policy's value or the time, and ask for no attribute that no field needs.
The schema is asked first: a clause or field on an attribute that the forest lacks must not look like "none".
"""

from __future__ import annotations

from agent.facts.ad.collect import FACTS, PLATFORM, collect, plan

__all__ = ["FACTS", "PLATFORM", "collect", "plan"]
