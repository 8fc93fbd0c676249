# The volume is empty, or holds a database whose first start was finished.
#
# The image takes any folder `mysql` for a whole database, also one that a killed first start has left, and would then
# run for ever without the shop's user. Such a remainder holds nobody's data, because until its first start is over the
# server listens to nobody; to be sure, a volume with a single table of a shop is left alone.
set -euo pipefail

data=/var/lib/mysql
mark="$data/.store-first-start-over"

if [ ! -d "$data/mysql" ] || [ -e "$mark" ]; then
  exit 0
fi
table=$(find "$data" -mindepth 2 -name '*.ibd' ! -path "$data/mysql/*" ! -path "$data/sys/*" -print -quit)
if [ -n "$table" ]; then
  echo "prepare-volume: the database was made elsewhere, it has $table; it stays as it is" >&2
  touch "$mark"
  exit 0
fi
echo 'prepare-volume: an earlier first start was not finished and left no tables of a shop; starting anew' >&2
find "$data" -mindepth 1 -delete
