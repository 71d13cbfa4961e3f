#!/bin/sh
# Brings Temporal's two databases to the schema of the server version. Safe to run again.
# The connection comes from the SQL_* variables.
set -eu

schema=/etc/temporal/schema/postgresql/v12

migrate() {
  # The first line makes the version tables and does nothing where they exist.
  temporal-sql-tool --database "$1" setup-schema --version 0.0
  temporal-sql-tool --database "$1" update-schema --schema-dir "$schema/$2/versioned"
}

migrate temporal temporal
migrate temporal_visibility visibility
