"""Alembic's environment: runs on the connection that `migrations.upgrade` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from flask_gatehouse.kernel.schema import VERSION_TABLE, include_name, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    include_name=lambda name, kind, parents: not include_name(name, kind, parents) or kind != "table",
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
