#!/bin/bash
# Makes the database ready on the first start, upgrades it when asked to, and becomes the server.
#
# First start means that the data folder holds no folder `mysql`. Variables (each also as NAME_FILE, never both):
#   one of MARIADB_ROOT_PASSWORD, MARIADB_ROOT_PASSWORD_HASH, MARIADB_RANDOM_ROOT_PASSWORD,
#   MARIADB_ALLOW_EMPTY_ROOT_PASSWORD; MARIADB_ROOT_HOST (default %); MARIADB_DATABASE, MARIADB_USER,
#   MARIADB_PASSWORD or MARIADB_PASSWORD_HASH, MARIADB_USER_HOST (default %); MARIADB_HEALTHCHECK_GRANTS;
#   MARIADB_INITDB_SKIP_TZINFO. At any start: MARIADB_AUTO_UPGRADE, MARIADB_DISABLE_UPGRADE_BACKUP.
# The names with MYSQL_ in place of MARIADB_ work too.
set -Eeuo pipefail
shopt -s nullglob

. /usr/local/lib/mariadb-entrypoint.sh

if [ "${1:-}" = mariadbd ] || [ "${1:-}" = mysqld ] || [[ "${1:-}" = -* ]]; then
	if [[ "$1" = -* ]]; then
		set -- mariadbd "$@"
	fi
	if [ "$1" = mysqld ]; then
		set -- mariadbd "${@:2}"
	fi
	serve_prepared "$@"
fi
exec "$@"
