# The files of the volume are those of the snapshot: what is not in it is gone. This is the last step of a restore.
set -eu
. "${0%/*}/repository.sh"

open_repository fail
# Below each folder and not the volume itself: that one, and the folders' own owner and times, belong to the kubelet.
restic ls "$SNAPSHOT" /backup/volume --json > /tmp/listing
sed -n 's|.*"path":"/backup/volume/\([^/"]*\)".*"type":"dir".*|\1|p; s|.*"type":"dir".*"path":"/backup/volume/\([^/"]*\)".*|\1|p' \
  /tmp/listing | sort -u > /tmp/folders
[ -s /tmp/folders ] || fail "snapshot $SNAPSHOT has no file of the volume" 'restore another one'
# The pod mounts the platform's plugins and the uploads into wp-content; older snapshots have these places, too.
while read -r folder; do
  mkdir -p "/volume/$folder"
  exclude=
  [ "$folder" != wp-content ] || exclude='--exclude=/mu-plugins --exclude=/uploads'
  # shellcheck disable=SC2086 # two arguments, or none
  restic restore "$SNAPSHOT:/backup/volume/$folder" --target "/volume/$folder" --delete $exclude --quiet
done < /tmp/folders
# A folder that the snapshot does not have is emptied: wp-content, where it was not kept at that time. The next pod fills it.
for folder in /volume/*/; do
  name=$(basename "$folder")
  [ "$name" = lost+found ] || grep -qxF "$name" /tmp/folders \
    || find "$folder" -mindepth 1 -delete
done
echo "files: $(find /volume -type f | wc -l) files"
printf '{"snapshot":"%s"}\n' "$SNAPSHOT" > /dev/termination-log
