# The snapshot's dump, whole, is in /restore/data, and its credentials are in /run/store/credentials. Nothing of the shop
# has been touched yet.
set -eu
. "${0%/*}/repository.sh"

[ -n "$SNAPSHOT" ] || fail 'no snapshot is named' 'start restores by `stores restore`, not by this template'
open_repository fail
restic ls "$SNAPSHOT" /backup/volume > /tmp/listing
grep -q '^/backup/volume/' /tmp/listing \
  || fail "snapshot $SNAPSHOT has no file of the volume" 'nothing was changed; take another snapshot'
restic restore "$SNAPSHOT:/backup/data" --target /restore/data --quiet
restic restore "$SNAPSHOT:/backup/credentials" --target "$private/credentials" --quiet
[ "$(tail -n 1 /restore/data/database.sql)" = '-- Dump completed' ] \
  || fail "the dump in snapshot $SNAPSHOT is not whole" 'nothing was changed; take another snapshot'
echo "fetch: $(wc -c < /restore/data/database.sql) bytes of dump"
