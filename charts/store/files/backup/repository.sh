# The repository of one store, for a script that says `. repository.sh`; for any POSIX shell.
#
# REPOSITORY_KIND, REPOSITORY_URL, REPOSITORY_ID and STORE_ID come from the pod. Passwords come from mounted files and go
# into files of a folder in memory: never into an argument or a variable, which other processes could read.
umask 077
secrets=/etc/store/repository
private=/run/store

fail() {
  echo "backup: $1; $2" >&2
  exit 1
}

[ -s "$secrets/backup-password" ] || fail "$secrets/backup-password is missing or empty" \
  'add the key backup-password to the credentials Secret'

case $REPOSITORY_KIND in
  rest)
    address=${REPOSITORY_URL#*://}
    scheme=${REPOSITORY_URL%%://*}
    printf 'rest:%s://%s:%s@%s/%s/\n' "$scheme" "$REPOSITORY_ID" "$(cat "$secrets/backup-access")" \
      "${address%/}" "$REPOSITORY_ID" > "$private/repository"
    ;;
  s3)
    printf 's3:%s/%s\n' "${REPOSITORY_URL%/}" "$REPOSITORY_ID" > "$private/repository"
    {
      printf '[default]\naws_access_key_id=%s\n' "$(cat /etc/store/access/access-key-id)"
      printf 'aws_secret_access_key=%s\n' "$(cat /etc/store/access/secret-access-key)"
    } > "$private/access"
    export AWS_SHARED_CREDENTIALS_FILE="$private/access"
    ;;
  *) fail "backup.repository.kind is '$REPOSITORY_KIND'" 'use rest or s3' ;;
esac

refusals='signature we calculated|SignatureDoesNotMatch|InvalidAccessKeyId|access key id you provided|access.?denied'

export RESTIC_REPOSITORY_FILE="$private/repository"
export RESTIC_PASSWORD_FILE="$secrets/backup-password"
export RESTIC_CACHE_DIR=/tmp/cache
# Two threads at most, and memory given back early: the pod has little of both.
export GOMAXPROCS=2 GOGC=50

# What restic said last of why it cannot go on; behind its tries comes what says nothing.
complaint() {
  grep 'returned error' /tmp/said | tail -n 1 | grep . || tail -n 1 /tmp/said
}

# The repository answers and opens with the password. $1: what to do where there is none yet, `init` or `fail`.
open_repository() {
  give_up_at=$(($(date +%s) + 150))
  told=
  patience=15
  while :; do
    code=0
    # restic itself would try for a quarter of an hour, also what no try makes better.
    timeout $patience restic cat config --no-lock > /dev/null 2> /tmp/said || code=$?
    [ $code -eq 0 ] && return 0
    if [ $code -eq 10 ]; then
      [ "$1" = init ] || fail "there is no repository of $REPOSITORY_ID" 'it was never backed up, see `stores backups`'
      echo "backup: making the repository of $REPOSITORY_ID"
      timeout 45 restic init > /dev/null 2> /tmp/said && return 0
    fi
    [ $code -eq 12 ] && fail "the repository of $REPOSITORY_ID does not open with its backup-password" \
      'the platform key is another than the one it was made with; set the right one'
    # A login at the platform's own server becomes good within a minute; keys of an object store do not.
    if [ "$REPOSITORY_KIND" = s3 ] && grep -qiE "$refusals" /tmp/said; then
      fail "the object store at $REPOSITORY_URL refuses the keys: $(grep -iEm 1 "$refusals" /tmp/said)" \
        'correct access-key-id and secret-access-key in the Secret of backup.repository.accessSecret'
    fi
    # A server that starts answers soon.
    [ "$(date +%s)" -lt $give_up_at ] || fail "the repository at $REPOSITORY_URL: $(complaint)" \
      'see the runbook docs/backup.md, "The repository does not answer"'
    [ -n "$told" ] || echo "backup: waiting for the repository: $(complaint)" >&2
    told=1
    patience=45
    sleep 6
  done
}
