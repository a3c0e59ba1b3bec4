"""The ledger: SQLModel tables on SQLite or PostgreSQL, behind the Store port."""
