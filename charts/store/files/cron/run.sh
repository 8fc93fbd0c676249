# Keeps loop.php running, which runs the shop's background work. Visitors' page views do not run it (DISABLE_WP_CRON).
#
# This shell never ends by itself: a container that ends makes the whole pod unready, and the shop would be closed because
# its background work has a problem. The image's stop signal is SIGWINCH, for Apache; loop.php looks for the file
# `stopping`, and ends what it runs before the pod's time is up.
stopping=/tmp/stopping
rm -f "$stopping" /tmp/wordpress.wanted
trap 'touch "$stopping"' TERM INT WINCH

# Apart from that work, which may hang: the pods' heartbeats.
bash /etc/store/schema/run.sh &

while [ ! -e "$stopping" ]; do
  php -d memory_limit=64M "${BASH_SOURCE%/*}/loop.php" &
  child=$!
  wait "$child"
  code=$?
  # A signal ends `wait` before the child has ended.
  while kill -0 "$child" 2> /dev/null; do
    wait "$child"
    code=$?
  done
  if [ ! -e "$stopping" ]; then
    echo "cron: loop.php ended with code $code; it starts again in 10 s" >&2
    sleep 10 &
    wait $!
  fi
done

# Not the code of what was waited for: who is asked to stop, and stops, did well.
exit 0
