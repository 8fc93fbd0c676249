# Runs run.php for at most INSTALL_TIMEOUT_SECONDS, and ends it when the container is to stop. The image's stop signal is
# SIGWINCH, which Apache understands and all else ignores, and the first process of a container ignores even SIGTERM.
if [ -n "${DATABASE_CA:-}" ]; then
  # PHP has one file of authorities for all its streams: the public ones, and that of the database.
  cat /etc/ssl/certs/ca-certificates.crt "$DATABASE_CA" > /var/lib/store/authorities/all.crt || exit 1
fi

trap 'kill -TERM "$child"' TERM INT WINCH

timeout --verbose --kill-after=10 "${INSTALL_TIMEOUT_SECONDS}" php "${BASH_SOURCE%/*}/run.php" &
child=$!
wait "$child"
code=$?
# A signal ends `wait` before the child has ended.
while kill -0 "$child" 2> /dev/null; do
  wait "$child"
  code=$?
done
exit "$code"
