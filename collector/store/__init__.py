"""SQLite or PostgreSQL behind one door: transactions, the writer thread, migrations, lease, retention."""
