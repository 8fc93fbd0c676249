#!/usr/bin/env bash
# What a CI system does with the manifest, whatever its name is.
#
#   stores-ci.sh plan ENV REF FILE   a plan of the files alone, as a comment for the pull request; needs no secret
#   stores-ci.sh comment NUMBER FILE the plan as this job's one comment of the request (GitHub's `gh`)
#   stores-ci.sh up ENV              after the merge: limits, audit trail, engine
#   stores-ci.sh nightly ENV         by the clock: what was waiting for an hour or for a grace to end
#
# STORES names the command, from a checkout of the default branch: a pull request's own code must not run where a
# secret is, and need not run at all. STORES_ROOT is the checkout that is looked at.
#
# Exit codes are those of the command (docs/runbooks/), but 10 (changes) is 0 here: a change is what a request is for.
# With 11 (data in danger) FILE is written too, and is what people should see.
set -euo pipefail

stores=${STORES:-stores}
root=${STORES_ROOT:-$PWD}

usage() {
  sed -n '4,8s/^# *//p' "$0" >&2
  exit 2
}

case "${1:-}" in
  plan)
    [ $# -eq 4 ] || usage
    code=0
    "$stores" --root "$root" plan --env "$2" --against "$3" --markdown --output "$4" --detailed-exitcode || code=$?
    case $code in
      0) echo "nothing changes" ;;
      10) echo "there are changes; see $4" ;;
      11) echo "data is in danger; see $4" >&2 && exit 11 ;;
      *) exit "$code" ;;
    esac
    ;;
  comment)
    [ $# -eq 3 ] || usage
    # By the plan's first line, which names its environment; and only of the job's own account: anybody may write that
    # line, and the job's token could overwrite anybody's comment.
    marker=$(head -n 1 "$3")
    comments="repos/$GITHUB_REPOSITORY/issues/$2/comments"
    own=
    while IFS=$'\t' read -r id login first; do
      if [ "$login" = "${COMMENTER:-github-actions[bot]}" ] && [ "${first%$'\r'}" = "$marker" ]; then own=$id; fi
    done < <(gh api --paginate "$comments" --jq '.[] | [.id, .user.login, (.body | split("\n")[0])] | join("\t")')
    if [ -n "$own" ]; then
      gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$own" --field "body=@$3"
    else
      gh api --silent --method POST "$comments" --field "body=@$3"
    fi
    ;;
  up)
    [ $# -eq 2 ] || usage
    # Without an idempotency key: this job run again must do what has become due since, such as a removal whose grace is
    # over or a store whose hour is over. Twice the same is no harm: what is done stays as it is.
    commit=$(git -C "$root" rev-parse HEAD)
    exec "$stores" --root "$root" up --env "$2" --reason "commit $commit"
    ;;
  nightly)
    [ $# -eq 2 ] || usage
    # Without a key: each night is a request of its own.
    exec "$stores" --root "$root" up --env "$2" --reason "nightly run at $(git -C "$root" rev-parse HEAD)"
    ;;
  *) usage ;;
esac
