# One snapshot of dump, files and credentials is in the store's repository; old ones are gone as the values say.
# The last line of restic's report becomes the container's message: that is where `stores backup` reads the snapshot's id.
set -eu
. "${0%/*}/repository.sh"

open_repository init
# Left by a pod that was killed. A lock that is in use stays.
restic unlock > /dev/null

code=0
restic backup --json --host "$STORE_ID" --tag "$BACKUP_REASON,$BACKUP_VERSIONS" --retry-lock 5m --no-scan \
  --exclude lost+found --exclude .store-writable /backup > /tmp/report 2> /tmp/said || code=$?
if [ $code -ne 0 ]; then
  grep -v message_type /tmp/said >&2 || true
  grep '"message_type":"error"' /tmp/said /tmp/report >&2 || true
  fail "restic ended with code $code" "$([ $code -eq 3 ] && echo 'a file could not be read' || echo 'see above')"
fi
summary=$(grep '"message_type":"summary"' /tmp/report)
echo "$summary"

if [ "$BACKUP_REASON" = scheduled ]; then
  restic forget --host "$STORE_ID" --group-by host --retry-lock 5m --keep-tag final \
    --keep-within "${KEEP_WITHIN_DAYS}d" --keep-daily "$KEEP_DAILY" --keep-weekly "$KEEP_WEEKLY" \
    --keep-monthly "$KEEP_MONTHLY" --prune --quiet
  if [ "$(date -u +%u)" = "$CHECK_WEEKDAY" ]; then
    restic check --retry-lock 5m --read-data-subset "$CHECK_SUBSET" --quiet
    echo 'backup: the repository is whole'
  fi
fi
echo "$summary" > /dev/termination-log
