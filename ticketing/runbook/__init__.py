"""The runbook: what each root cause means and what to do (uk.po, en.po), and the pages of docs/ that are written from it."""
