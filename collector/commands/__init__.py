"""The verbs of ``vartovyi-collector``, one file a group: arguments, what runs, and the words that come of it."""
