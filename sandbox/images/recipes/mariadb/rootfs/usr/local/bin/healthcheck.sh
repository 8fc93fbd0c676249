#!/bin/bash
# Ends with 0 when every asked test holds, in the given order: --connect, --innodb_initialized, --mariadbupgrade.
# Logs in as the account `healthcheck` that the first start made.
set -u

: "${MYSQL_DATADIR:=/var/lib/mysql}"
settings="$MYSQL_DATADIR/.my-healthcheck.cnf"
asked=0

query() {
	mariadb --defaults-file="$settings" --protocol=tcp --host=127.0.0.1 --connect-timeout=5 --batch --skip-column-names \
		--skip-ssl-verify-server-cert --execute "$1" 2> /dev/null
}

# The server of the first start has no network, so it is not taken for the real one.
connect() {
	[ "$(query 'SELECT @@skip_networking')" = 0 ]
}

innodb_initialized() {
	[ "$(query "SELECT 1 FROM information_schema.ENGINES WHERE engine = 'InnoDB' AND support IN ('YES', 'DEFAULT')")" = 1 ]
}

mariadbupgrade() {
	mariadb-upgrade --defaults-file="$settings" --check-if-upgrade-is-needed > /dev/null 2>&1
	# 1: the data fits the server. 0: an upgrade is due.
	[ "$?" = 1 ]
}

for argument in "$@"; do
	case "$argument" in
		--connect) connect ;;
		--innodb_initialized) innodb_initialized ;;
		--mariadbupgrade) mariadbupgrade ;;
		--defaults-file=*) settings="${argument#*=}"; continue ;;
		--datadir=*) MYSQL_DATADIR="${argument#*=}"; settings="$MYSQL_DATADIR/.my-healthcheck.cnf"; continue ;;
		*) echo "healthcheck: unknown test $argument" >&2; exit 2 ;;
	esac || { echo "healthcheck: $argument failed" >&2; exit 1; }
	asked=1
done
if [ "$asked" = 0 ]; then
	echo "healthcheck: no test given; use --connect, --innodb_initialized or --mariadbupgrade" >&2
	exit 2
fi
