# Every start of the container begins here, not only every start of its pod: a server that is killed starts again in the
# same pod, and after its first start was cut short that would go wrong for ever.
set -euo pipefail
bash "${BASH_SOURCE%/*}/prepare-volume.sh"
exec docker-entrypoint.sh mariadbd
