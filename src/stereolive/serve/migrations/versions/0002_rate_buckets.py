"""Rates that replicas share."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "rate_buckets",
        sa.Column("owner", sa.String(200), primary_key=True),
        sa.Column("full_ms", sa.Float, nullable=False),
    )
