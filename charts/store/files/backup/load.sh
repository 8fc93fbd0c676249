# The database is what the dump says and nothing else. No web pod runs meanwhile: `stores restore` sees to that.
set -euo pipefail
. "${BASH_SOURCE%/*}/client.sh"

database=${DATABASE_NAME//\`/\`\`}

# What drops everything that the database holds, and leaves the database, which a user of a shared server may not remove.
# Triggers go with their tables.
emptying() {
  mariadb --defaults-extra-file=<(client) --skip-column-names --batch --raw "$DATABASE_NAME" << 'SQL'
SELECT CONCAT('DROP ', CASE TABLE_TYPE WHEN 'VIEW' THEN 'VIEW' WHEN 'SEQUENCE' THEN 'SEQUENCE' ELSE 'TABLE' END,
  ' IF EXISTS `', REPLACE(TABLE_NAME, '`', '``'), '`;') FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE();
SELECT CONCAT('DROP ', ROUTINE_TYPE, ' IF EXISTS `', REPLACE(ROUTINE_NAME, '`', '``'), '`;')
  FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE();
SELECT CONCAT('DROP EVENT IF EXISTS `', REPLACE(EVENT_NAME, '`', '``'), '`;')
  FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE();
SQL
}

# Who defined a view, a routine, a trigger or an event: the user of the server that the dump is of. Here it becomes ours.
# Data never begins a line so: a dump writes each row's text on one line, behind its statement.
without_definers() {
  sed -E '/^(\/\*!50013 |\/\*!50003 CREATE\*\/ \/\*!50017 |\/\*!50106 CREATE\*\/ \/\*!50117 |CREATE )DEFINER=/ {
    s/DEFINER=`([^`]|``)*`@`([^`]|``)*`//
  }'
}

mariadb --defaults-extra-file=<(client) -e "CREATE DATABASE IF NOT EXISTS \`$database\`"
statements=$(emptying)
{
  printf 'ALTER DATABASE `%s` CHARACTER SET utf8mb4;\nSET FOREIGN_KEY_CHECKS = 0;\n%s\nSET FOREIGN_KEY_CHECKS = 1;\n' \
    "$database" "$statements"
  without_definers < /restore/data/database.sql
} > >(exec mariadb --defaults-extra-file=<(client) --default-character-set=utf8mb4 --binary-mode "$DATABASE_NAME")
wait $!
tables=$(mariadb --defaults-extra-file=<(client) --skip-column-names --batch "$DATABASE_NAME" -e 'SHOW TABLES' | wc -l)
[ "$tables" -gt 0 ] || fail 'the dump made no table' 'restore another snapshot'
echo "load: $tables tables"
