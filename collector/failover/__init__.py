"""Failover to the backup server: pure plan and table here, effects in ``steps``. What it must never do stands in guards."""
