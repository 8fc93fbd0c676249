# What docker-entrypoint.sh does, in functions.

readonly HEALTH_FILE=.my-healthcheck.cnf
readonly TIME_ZONES=/usr/share/zoneinfo

note() { printf '%s [Note] [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "$*"; }
warn() { printf '%s [Warn] [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "$*" >&2; }
fail() {
	printf '%s [ERROR] [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "$*" >&2
	exit 1
}

# setting NAME [default]: sets MARIADB_NAME from itself, from the file that MARIADB_NAME_FILE names, or from the same with
# MYSQL_, and takes the others away.
setting() {
	local name prefix value=""
	for prefix in MYSQL MARIADB; do
		name="${prefix}_$1"
		local file="${name}_FILE"
		if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
			fail "both $name and $file are set, but they exclude each other"
		fi
		if [ -n "${!name:-}" ]; then
			value="${!name}"
		elif [ -n "${!file:-}" ]; then
			[ -r "${!file}" ] || fail "$file names ${!file}, which cannot be read"
			value="$(< "${!file}")"
		fi
		unset "$name" "$file"
	done
	export "MARIADB_$1=${value:-${2:-}}"
}

read_settings() {
	setting ROOT_HOST '%'
	setting ROOT_PASSWORD
	setting ROOT_PASSWORD_HASH
	setting DATABASE
	setting USER
	setting USER_HOST '%'
	setting PASSWORD
	setting PASSWORD_HASH
}

forget_settings() {
	unset "${!MARIADB_ROOT@}" "${!MYSQL_ROOT@}" MARIADB_PASSWORD MARIADB_PASSWORD_HASH MYSQL_PASSWORD MYSQL_PASSWORD_HASH
}

require_settings() {
	local random="${MARIADB_RANDOM_ROOT_PASSWORD:-${MYSQL_RANDOM_ROOT_PASSWORD:-}}"
	local empty="${MARIADB_ALLOW_EMPTY_ROOT_PASSWORD:-${MYSQL_ALLOW_EMPTY_PASSWORD:-}}"
	if [ -z "$MARIADB_ROOT_PASSWORD$MARIADB_ROOT_PASSWORD_HASH$random$empty" ]; then
		fail "the database is not initialised and no password is given: set one of MARIADB_ROOT_PASSWORD," \
			"MARIADB_ROOT_PASSWORD_HASH, MARIADB_RANDOM_ROOT_PASSWORD and MARIADB_ALLOW_EMPTY_ROOT_PASSWORD"
	fi
	if [ -n "$MARIADB_ROOT_PASSWORD_HASH" ] && [ -n "$MARIADB_ROOT_PASSWORD$random$empty" ]; then
		fail "MARIADB_ROOT_PASSWORD_HASH excludes every other way to set the root password"
	fi
	if [ -n "$MARIADB_USER" ] && [ -z "$MARIADB_PASSWORD$MARIADB_PASSWORD_HASH" ]; then
		fail "MARIADB_USER is set without MARIADB_PASSWORD or MARIADB_PASSWORD_HASH"
	fi
	if [ "$MARIADB_USER" = root ]; then
		fail "MARIADB_USER cannot be root: set MARIADB_ROOT_PASSWORD instead"
	fi
	if [ -n "$random" ]; then
		MARIADB_ROOT_PASSWORD="$(random_password)"
		note "GENERATED ROOT PASSWORD: $MARIADB_ROOT_PASSWORD"
	fi
}

random_password() {
	head -c 24 /dev/urandom | base64 | tr '+/' '-_'
}

# literal TEXT: the text as an SQL string literal, for places where an expression is not allowed (backslash is plain).
literal() {
	printf "'%s'" "${1//\'/\'\'}"
}

name_of() {
	printf '`%s`' "${1//\`/\`\`}"
}

# read_server mariadbd ARGUMENT...: sets data, socket and port to what the server would use.
read_server() {
	local told
	told="$("$@" --verbose --help 2> /dev/null)" || fail "mariadbd does not take these arguments or settings: ${*:2}"
	data="$(server_setting datadir <<< "$told")"
	data="${data%/}"
	socket="$(server_setting socket <<< "$told")"
	port="$(server_setting port <<< "$told")"
}

server_setting() {
	awk -v name="$1" '$1 == name && /^[^ \t]/ { $1 = ""; sub(/^ +/, ""); value = $0 } END { print value }'
}

# ask: runs statements from standard input as root over the socket.
ask() {
	MYSQL_PWD="$root_password" mariadb --no-defaults --protocol=socket --socket="$socket" --user=root --database=mysql \
		--comments --skip-reconnect --batch --skip-column-names "$@"
}

start_temporary_server() {
	"$@" --skip-networking --default-time-zone=SYSTEM --socket="$socket" --wsrep-on=OFF --expire-logs-days=0 \
		--skip-slave-start --loose-innodb-buffer-pool-load-at-startup=0 &
	temporary_pid=$!
	note "waiting for the temporary server"
	local deadline=$((SECONDS + 60))
	while [ "$SECONDS" -lt "$deadline" ]; do
		if mariadb-admin --no-defaults --protocol=socket --socket="$socket" --user=none --connect-timeout=2 ping > /dev/null 2>&1
		then
			return 0
		fi
		kill -0 "$temporary_pid" 2> /dev/null || fail "the temporary server did not start; its own lines above say why"
		sleep 0.1
	done
	fail "the temporary server does not answer"
}

stop_temporary_server() {
	kill "$temporary_pid"
	wait "$temporary_pid" || fail "the temporary server did not stop cleanly"
}

create_tables() {
	note "creating the system tables in $data"
	local -a arguments=(--datadir="$data" --rpm --auth-root-authentication-method=normal --skip-test-db
		--cross-bootstrap --default-time-zone=SYSTEM --skip-log-bin --expire-logs-days=0 --loose-innodb_buffer_pool_load_at_startup=0
		--loose-innodb_buffer_pool_dump_at_shutdown=0)
	mariadb-install-db "${arguments[@]}" "${@:2}" > /dev/null
}

load_time_zones() {
	[ -z "${MARIADB_INITDB_SKIP_TZINFO:-${MYSQL_INITDB_SKIP_TZINFO:-}}" ] || return 0
	[ -d "$TIME_ZONES" ] || return 0
	note "loading time zones"
	mariadb-tzinfo-to-sql --skip-write-binlog "$TIME_ZONES" 2> /dev/null | ask
}

# password_clause PASSWORD HASH
password_clause() {
	if [ -n "$2" ]; then
		printf 'IDENTIFIED BY PASSWORD %s' "$(literal "$2")"
	else
		printf 'IDENTIFIED BY %s' "$(literal "$1")"
	fi
}

create_users() {
	note "creating the accounts"
	local account health_password host pattern
	health_password="$(random_password)"
	{
		plain_strings
		# Accounts without a password that creating the tables leaves behind.
		host="$(literal "$(hostname)")"
		printf "DROP USER IF EXISTS ''@localhost, ''@%s, root@'127.0.0.1', root@'::1', root@%s;\n" "$host" "$host"
		if [ -n "$MARIADB_DATABASE" ]; then
			printf 'CREATE DATABASE IF NOT EXISTS %s;\n' "$(name_of "$MARIADB_DATABASE")"
		fi
		if [ -n "$MARIADB_USER" ]; then
			account="$(literal "$MARIADB_USER")@$(literal "$MARIADB_USER_HOST")"
			printf 'CREATE USER %s %s;\n' "$account" "$(password_clause "$MARIADB_PASSWORD" "$MARIADB_PASSWORD_HASH")"
			if [ -n "$MARIADB_DATABASE" ]; then
				# In a grant, _ and % of a name would stand for any character.
				pattern="${MARIADB_DATABASE//_/\\_}"
				printf 'GRANT ALL ON %s.* TO %s;\n' "$(name_of "${pattern//%/\\%}")" "$account"
			fi
		fi
		health_account_statements "$health_password"
	} | ask
	write_health_file "$health_password"
}

set_root_password() {
	local clause
	clause="$(password_clause "$MARIADB_ROOT_PASSWORD" "$MARIADB_ROOT_PASSWORD_HASH")"
	{
		plain_strings
		if [ "$MARIADB_ROOT_HOST" != localhost ]; then
			printf 'CREATE USER root@%s %s;\n' "$(literal "$MARIADB_ROOT_HOST")" "$clause"
			printf 'GRANT ALL ON *.* TO root@%s WITH GRANT OPTION;\n' "$(literal "$MARIADB_ROOT_HOST")"
		fi
		printf 'ALTER USER root@localhost %s;\n' "$clause"
	} | ask
	root_password="$MARIADB_ROOT_PASSWORD"
}

# Makes the quote the only character that means something inside a string, and keeps all this out of the binary log.
plain_strings() {
	printf "SET @@SESSION.SQL_LOG_BIN = 0;\nSET @@SESSION.SQL_MODE = 'NO_BACKSLASH_ESCAPES';\n"
}

health_account_statements() {
	local host account
	for host in 127.0.0.1 ::1 localhost; do
		account="healthcheck@'$host'"
		printf 'CREATE OR REPLACE USER %s IDENTIFIED BY %s;\n' "$account" "$(literal "$1")"
		printf 'GRANT %s ON *.* TO %s;\n' "${MARIADB_HEALTHCHECK_GRANTS:-USAGE}" "$account"
	done
}

write_health_file() {
	(
		umask 0077
		printf '[mariadb-client]\nport=%s\nsocket=%s\nuser=healthcheck\npassword=%s\n' "$port" "$socket" "$1" \
			> "$data/$HEALTH_FILE"
	)
	if [ "$(id -u)" = 0 ]; then
		chown mysql:mysql "$data/$HEALTH_FILE"
	fi
}

run_first_start_files() {
	local file
	local -a database=()
	if [ -n "$MARIADB_DATABASE" ]; then
		database=(--database="$MARIADB_DATABASE")
	fi
	for file in /docker-entrypoint-initdb.d/*; do
		case "$file" in
			*.sh)
				note "running $file"
				if [ -x "$file" ]; then
					"$file"
				else
					# shellcheck disable=SC1090
					. "$file"
				fi ;;
			*.sql) note "loading $file"; ask "${database[@]}" < "$file" ;;
			*.sql.gz) note "loading $file"; gzip -dc "$file" | ask "${database[@]}" ;;
			*.sql.xz) note "loading $file"; xz -dc "$file" | ask "${database[@]}" ;;
			*.sql.zst) note "loading $file"; zstd -dc "$file" | ask "${database[@]}" ;;
			*) warn "ignoring $file" ;;
		esac
	done
}

initialise() {
	read_settings
	require_settings
	mkdir -p "$data"
	create_tables "$@"
	start_temporary_server "$@"
	load_time_zones
	create_users
	# Files of the first start may log in with the root password; where only its hash is known they must come before it.
	if [ -n "$MARIADB_ROOT_PASSWORD_HASH" ]; then
		run_first_start_files
		set_root_password
	else
		set_root_password
		run_first_start_files
	fi
	stop_temporary_server
	note "the database is ready"
}

# needs_upgrade: whether the data was last used by another minor version of the server, or its health account is unknown.
needs_upgrade() {
	local recorded="" current file
	for file in "$data/mariadb_upgrade_info" "$data/mysql_upgrade_info"; do
		if [ -r "$file" ]; then
			recorded="$(tr -d '\0' < "$file")"
			break
		fi
	done
	current="$(mariadbd --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)"
	[ ! -f "$data/$HEALTH_FILE" ] || [ "${recorded%.*}" != "${current%.*}" ]
}

upgrade() {
	read_settings
	root_password="$MARIADB_ROOT_PASSWORD"
	note "upgrading the system tables"
	start_temporary_server "$@"
	if [ -z "${MARIADB_DISABLE_UPGRADE_BACKUP:-}" ]; then
		local version
		version="$(tr -d '\0' < "$data/mariadb_upgrade_info" 2> /dev/null || echo unknown)"
		MYSQL_PWD="$root_password" mariadb-dump --no-defaults --socket="$socket" --user=root --skip-lock-tables \
			--replace --system=all mysql | zstd --quiet -f -o "$data/system_mysql_backup_$version.sql.zst" \
			|| fail "the system tables could not be saved before the upgrade"
	fi
	MYSQL_PWD="$root_password" mariadb-upgrade --no-defaults --socket="$socket" --user=root --upgrade-system-tables
	if [ ! -f "$data/$HEALTH_FILE" ]; then
		local health_password
		health_password="$(random_password)"
		health_account_statements "$health_password" | ask
		write_health_file "$health_password"
	fi
	stop_temporary_server
	note "the system tables are upgraded"
}

# serve_prepared mariadbd ARGUMENT...: becomes the server, on data that is ready for it.
serve_prepared() {
	read_server "$@"
	root_password=""
	if [ "$(id -u)" = 0 ]; then
		mkdir -p "$data" "${socket%/*}"
		find "$data" \! -user mysql -exec chown mysql: '{}' +
		chown mysql: "${socket%/*}"
		exec setpriv --reuid=mysql --regid=mysql --init-groups -- "${BASH_SOURCE[-1]}" "$@"
	fi
	if [ ! -d "$data/mysql" ]; then
		initialise "$@"
	elif [ -n "${MARIADB_AUTO_UPGRADE:-}" ] && needs_upgrade; then
		upgrade "$@"
	fi
	forget_settings
	exec "$@"
}
