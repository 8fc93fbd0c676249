# Every start of the container begins here, not only every start of its pod: a server that is killed starts again in the
# same pod, and after its first start was cut short that would go wrong for ever.
set -euo pipefail
bash "${BASH_SOURCE%/*}/prepare-volume.sh"

# A full volume is in the log once a minute, before the server notices: it may hold for hours what it cannot write.
watch_disk() {
  local total free said=
  while true; do
    read -r total free < <(df --output=size,avail --block-size=1M /var/lib/mysql | tail -n 1)
    if ((free * 50 >= total)); then
      [ -z "$said" ] || echo 'disk: the volume of the database has room again' >&2
      said=
    elif [ -z "$said" ] || ((SECONDS - said >= 60)); then
      echo "disk: the volume of the database is full: $free of $total MiB are free" >&2
      said=$SECONDS
    fi
    sleep 10
  done
}
watch_disk &

exec docker-entrypoint.sh mariadbd
