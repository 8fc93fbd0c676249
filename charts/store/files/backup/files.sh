# The files of the volume are those of the snapshot: what is not in it is gone. This is the last step of a restore.
set -eu
. "${0%/*}/repository.sh"

open_repository fail
# Below each folder and not the volume itself: that one, and the folders' own owner and times, belong to the kubelet.
restic ls "$SNAPSHOT" /backup/volume --json > /tmp/listing
sed -n 's|.*"path":"/backup/volume/\([^/"]*\)".*"type":"dir".*|\1|p; s|.*"type":"dir".*"path":"/backup/volume/\([^/"]*\)".*|\1|p' \
  /tmp/listing | sort -u > /tmp/folders
while read -r folder; do
  mkdir -p "/volume/$folder"
  restic restore "$SNAPSHOT:/backup/volume/$folder" --target "/volume/$folder" --delete --quiet
done < /tmp/folders
echo "files: $(find /volume -type f | wc -l) files"
printf '{"snapshot":"%s"}\n' "$SNAPSHOT" > /dev/termination-log
