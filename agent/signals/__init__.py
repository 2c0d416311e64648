"""Pure: the catalogue of signals, parsers of what Linux prints, rules, and the weekly profile."""
