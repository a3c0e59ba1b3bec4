"""Forgetting old rows, some at a time: the bus is the only writer and must not be held up by all of them at once."""

from sqlalchemy import ColumnElement, Connection, Table, delete, select, tuple_


def drop_some(db: Connection, table: Table, limit: int, *conditions: ColumnElement[bool]) -> int:
    """Remove at most `limit` rows for which all of this holds; return how many. What another node is at is left."""
    key = table.primary_key.columns
    chosen = select(*key).where(*conditions).limit(limit).with_for_update(skip_locked=True)
    return db.execute(delete(table).where(tuple_(*key).in_(chosen))).rowcount
