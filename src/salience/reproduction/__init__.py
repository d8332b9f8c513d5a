"""Published tables, computed again: a protocol (a module) beside what was published (a CSV of the same name)."""
