# One snapshot of dump, files and credentials is in the store's repository; old ones are gone as the values say.
# The last line of restic's report becomes the container's message: that is where `stores backup` reads the snapshot's id.
set -eu
. "${0%/*}/repository.sh"

open_repository init
# Left by a pod that was killed. A lock that is in use stays.
restic unlock > /dev/null

# What is to go is gone. The state that a restore replaced takes no day's, week's or month's place of one that was meant.
tidy() {
  restic forget --host "$STORE_ID" --group-by host --tag scheduled --tag manual --tag pre-upgrade --tag final \
    --retry-lock 5m --keep-tag final --keep-within "${KEEP_WITHIN_DAYS}d" --keep-daily "$KEEP_DAILY" \
    --keep-weekly "$KEEP_WEEKLY" --keep-monthly "$KEEP_MONTHLY" --quiet
  restic forget --host "$STORE_ID" --group-by host --tag pre-restore --retry-lock 5m \
    --keep-within "${KEEP_WITHIN_DAYS}d" --quiet
  restic prune --retry-lock 5m --quiet
}

# Where the merchant installs by the admin page, every install, update and removal changes one of these folders. Code that
# was changed since the dump began is of another moment than the database, which says what of it is active.
same_code() {
  for folder in /backup/volume/wp-content/plugins /backup/volume/wp-content/themes; do
    [ ! -d "$folder" ] || [ -z "$(find "$folder" -maxdepth 0 -newer /backup/data/begun)" ] || return 1
  done
}
changed='plugins or themes were installed, updated or removed while the backup ran'
same_code || fail "$changed" 'run it again when that is done; by the schedule it runs again by itself'

# Not saved: caches and half-done updates, and the places where the pod mounts the platform's plugins and the uploads.
content=/backup/volume/wp-content
code=0
restic backup --json --host "$STORE_ID" --tag "$BACKUP_REASON,$BACKUP_VERSIONS" --retry-lock 5m --no-scan \
  --exclude /backup/volume/lost+found --exclude '.store-*' --exclude-caches --exclude "$content/cache" \
  --exclude "$content/upgrade" --exclude "$content/upgrade-temp-backup" --exclude "$content/mu-plugins" \
  --exclude "$content/uploads" --exclude '/backup/volume/packages/*.part' /backup > /tmp/report 2> /tmp/said || code=$?
if [ $code -ne 0 ]; then
  grep -v message_type /tmp/said >&2 || true
  grep '"message_type":"error"' /tmp/said /tmp/report >&2 || true
  # There may be no room: then what is to go must not wait for a backup that succeeds.
  [ "$BACKUP_REASON" != scheduled ] || tidy > /dev/null || true
  fail "restic ended with code $code" "$([ $code -eq 3 ] && echo 'a file could not be read' || echo 'see above')"
fi
summary=$(grep '"message_type":"summary"' /tmp/report)
if ! same_code; then
  restic forget --quiet --retry-lock 5m "$(printf '%s' "$summary" | sed 's/.*"snapshot_id":"\([0-9a-f]*\)".*/\1/')"
  fail "$changed" 'run it again when that is done; by the schedule it runs again by itself'
fi
echo "$summary"

if [ "$BACKUP_REASON" = scheduled ]; then
  tidy
  if [ "$(date -u +%u)" = "$CHECK_WEEKDAY" ]; then
    restic check --retry-lock 5m --read-data-subset "$CHECK_SUBSET" --quiet
    echo 'backup: the repository is whole'
  fi
fi
echo "$summary" > /dev/termination-log
