# A heartbeat every SCHEMA_HEARTBEAT_SECONDS, and the update of the database when it is due. Runs beside the scheduled
# tasks and ends with their container.
while [ ! -e /tmp/stopping ]; do
  timeout --kill-after=5 30 php "${BASH_SOURCE%/*}/heartbeat.php"
  if [ $? -eq 10 ]; then
    # A process group of its own, of which nothing is left when it ends: that would keep the container's turn.
    timeout --kill-after=10 1800 php "${BASH_SOURCE%/*}/update.php" &
    wait $!
    kill -KILL -- "-$!" 2> /dev/null
  fi
  sleep "${SCHEMA_HEARTBEAT_SECONDS}"
done
