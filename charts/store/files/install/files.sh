# WordPress' code is in the working folder: whole, as the image has it. What an earlier run of this container has left half
# done, killed or cut off by its node, is never gone on with: it is removed and copied anew.
#
# The image's own script copies only where it finds neither index.php nor wp-includes/version.php, so it would take half of
# a copy for a whole one. The mark is written last, and holds the node's boot: files that were written before a node lost its
# power may be empty, whatever is said beside them.
set -eu
mark=${STORE_CODE_MARK:?}
boot=$(cat /proc/sys/kernel/random/boot_id 2> /dev/null || echo unknown)

if [ "$(cat "$mark" 2> /dev/null)" = "$boot" ]; then
  exit 0
fi
if [ -n "$(find . -mindepth 1 -maxdepth 1 ! -name wp-content)" ]; then
  echo 'files: what an earlier start has left is removed' >&2
fi
# Where wp-content outlives the pod, it is the merchant's. Of its folders only those are removed that the copy which broke
# off was making; the list of them is there from before their first file until after their last.
making=wp-content/.store-making
if [ "$STORE_WP_CONTENT" = persistent ]; then
  find . -mindepth 1 -maxdepth 1 ! -name wp-content -exec rm -rf {} +
  if [ -e "$making" ]; then
    while IFS= read -r folder; do
      rm -rf "wp-content/${folder:?}"
    done < "$making"
  fi
  for folder in /usr/src/wordpress/wp-content/*/*/; do
    folder=${folder#/usr/src/wordpress/wp-content/}
    [ -e "wp-content/$folder" ] || printf '%s\n' "${folder%/}"
  done > "$making.new"
  # On the disk before it has its name, and that before the first file: an empty list would leave half a folder for whole.
  sync "$making.new"
  mv "$making.new" "$making"
  [ ! -s "$making" ] || sync -f "$making"
else
  find . -mindepth 1 -maxdepth 1 -exec rm -rf {} +
fi

# The size and the place of each file that is to be copied into a kept wp-content's pod, below a folder that has them.
listed() {
  cd "$1"
  find . -path ./wp-content -prune -o -type f -printf '%s %p\n'
  while IFS= read -r folder; do
    find "wp-content/$folder" -type f -printf '%s %p\n'
  done < "$2"
}

is_whole() {
  missing=$(comm -23 <(listed /usr/src/wordpress "$PWD/$making" | sort) <(listed . "$PWD/$making" | sort))
  [ -z "$missing" ] || { echo "files: not as the image has it: $missing" | head -n 20 >&2; return 1; }
}

code=0
docker-ensure-installed.sh || code=$?
if [ "$code" -ne 0 ]; then
  # A volume's own folder is the node's: tar copies everything, and fails in the end because it may not set its mode.
  if [ "$STORE_WP_CONTENT" != persistent ] || ! is_whole; then
    exit "$code"
  fi
  docker-ensure-installed.sh
fi
if [ "$STORE_WP_CONTENT" = persistent ]; then
  # Only a first start, or a new image's own folders, have written what must be on the disk before the list goes.
  [ ! -s "$making" ] || sync -f "$making"
  rm "$making"
fi
printf '%s\n' "$boot" > "$mark.new"
mv "$mark.new" "$mark"
