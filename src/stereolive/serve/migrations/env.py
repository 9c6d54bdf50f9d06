"""Alembic's entry: runs the migrations in one transaction that the storage opens."""

from alembic import context

from stereolive.serve.storage import metadata

with context.config.attributes["stereolive_write"]() as connection:
    if connection.dialect.name == "postgresql":
        # Several replicas may start at once; the others wait here and then find nothing to do.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7309453)")
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
    context.run_migrations()
