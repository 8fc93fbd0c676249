# For a script that says `. client.sh`, in bash: `client` prints the options of a MariaDB client that logs in as the shop.
# A file descriptor hands them over (`--defaults-extra-file=<(client)`), so that the password is in no file, argument or
# variable.
# A pod of a chart that said it otherwise: these files change under it while it starts.
DATABASE_ADDRESS=${DATABASE_ADDRESS:-${DATABASE_HOST:-}}

client() {
  local password
  password=$(< /etc/store/credentials/mariadb-password)
  password=${password//\\/\\\\}
  printf '[client]\nhost=%s\nport=%s\nuser=%s\npassword="%s"\nloose-max-allowed-packet=256M\n' \
    "${DATABASE_ADDRESS%:*}" "$(port)" "$DATABASE_USER" "${password//\"/\\\"}"
  if [ -n "${DATABASE_CA:-}" ]; then
    printf 'ssl-ca=%s\nssl-verify-server-cert\n' "$DATABASE_CA"
  else
    echo loose-skip-ssl-verify-server-cert
  fi
}

port() {
  case $DATABASE_ADDRESS in
    *:*) echo "${DATABASE_ADDRESS##*:}" ;;
    *) echo 3306 ;;
  esac
}

fail() {
  echo "backup: $1; $2" >&2
  exit 1
}
