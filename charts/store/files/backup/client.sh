# For a script that says `. client.sh`, in bash: `client` prints the options of a MariaDB client that logs in as the shop.
# A file descriptor hands them over (`--defaults-extra-file=<(client)`), so that the password is in no file, argument or
# variable.
client() {
  local password
  password=$(< /etc/store/credentials/mariadb-password)
  password=${password//\\/\\\\}
  printf '[client]\nhost=%s\nuser=%s\npassword="%s"\nloose-skip-ssl-verify-server-cert\nloose-max-allowed-packet=256M\n' \
    "$DATABASE_HOST" "$DATABASE_USER" "${password//\"/\\\"}"
}

fail() {
  echo "backup: $1; $2" >&2
  exit 1
}
