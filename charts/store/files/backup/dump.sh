# The database is in /backup/data/database.sql as it was at one moment, while the shop goes on; with it store.json, which
# says what it belongs to. A dump that broke off is a failure and never a backup.
set -euo pipefail
. "${BASH_SOURCE%/*}/client.sh"
umask 077

tries=0
until mariadb-admin --defaults-extra-file=<(client) --connect-timeout=5 ping > /dev/null 2> /tmp/said; do
  tries=$((tries + 1))
  [ "$tries" -lt 12 ] || fail "MariaDB on $DATABASE_ADDRESS: $(tr '\n' ' ' < /tmp/said)" 'see the log of its pod'
  sleep 5
done

# From here on the code must stay as it is; a second early, because not every clock tells more than seconds.
touch -d "@$(($(date +%s) - 1))" /backup/data/begun
mariadb-dump --defaults-extra-file=<(client) \
  --single-transaction --quick --routines --triggers --events --hex-blob --skip-dump-date --add-drop-table \
  --default-character-set=utf8mb4 "$DATABASE_NAME" > /backup/data/database.sql
[ "$(tail -n 1 /backup/data/database.sql)" = '-- Dump completed' ] \
  || fail 'the dump ended before its last line' 'see the lines above; the next run tries again'
cp /etc/store/backup/store.json /backup/data/store.json
# A Secret's files are links; what is saved is what they point at.
cp -L /etc/store/credentials-all/* /backup/credentials/
echo "dump: $(stat --format=%s /backup/data/database.sql) bytes"
