# Runs WordPress' scheduled tasks every CRON_INTERVAL_SECONDS. Visitors' page views do not run them (DISABLE_WP_CRON).
# The image's stop signal is SIGWINCH, for Apache. `& wait`: a shell notices a signal only while it waits.
trap 'exit 0' TERM INT WINCH

while true; do
  timeout --kill-after=10 300 php /var/www/html/wp-cron.php &
  wait $! || echo "cron: wp-cron.php ended with code $?; the next run is in ${CRON_INTERVAL_SECONDS} s" >&2
  sleep "${CRON_INTERVAL_SECONDS}" &
  wait $!
done
