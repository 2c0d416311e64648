"""One file a kind of step: what it needs, whether it can, how it is done, how one reads back that it was done."""
