# The database is what the dump says and nothing else. No web pod runs meanwhile: `stores restore` sees to that.
set -euo pipefail
. "${BASH_SOURCE%/*}/client.sh"

{
  printf 'DROP DATABASE IF EXISTS `%s`;\nCREATE DATABASE `%s` CHARACTER SET utf8mb4;\nUSE `%s`;\n' \
    "$DATABASE_NAME" "$DATABASE_NAME" "$DATABASE_NAME"
  cat /restore/data/database.sql
} > >(exec mariadb --defaults-extra-file=<(client) --default-character-set=utf8mb4 --binary-mode)
wait $!
tables=$(mariadb --defaults-extra-file=<(client) --skip-column-names --batch "$DATABASE_NAME" -e 'SHOW TABLES' | wc -l)
[ "$tables" -gt 0 ] || fail 'the dump made no table' 'restore another snapshot'
echo "load: $tables tables"
