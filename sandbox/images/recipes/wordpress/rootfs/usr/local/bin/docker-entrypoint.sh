#!/usr/bin/env bash
# Puts WordPress into the working folder, and a wp-config.php that reads the environment, when a web server is started or
# when called by its second name, docker-ensure-installed.sh (for init containers). Then runs what it was given.
set -Eeuo pipefail
shopt -s nullglob

source_folder=/usr/src/wordpress

says() {
	echo >&2 "wordpress: $*"
}

copy_tree() {
	local owner group path
	local -a pack=(--create --file - --directory "$source_folder" --anchored --no-wildcards)
	local -a unpack=(--extract --file -)
	# What people have put into the folder wins.
	for path in .htaccess wp-content/*/*/; do
		path="${path%/}"
		if [ -e "$path" ] && [ -e "$source_folder/$path" ]; then
			pack+=(--exclude "$path")
		fi
	done
	if [ "$(id -u)" = 0 ]; then
		owner="${APACHE_RUN_USER:-www-data}"
		group="${APACHE_RUN_GROUP:-www-data}"
		owner="${owner#'#'}"
		group="${group#'#'}"
		# A folder that the runtime made for a volume belongs to root.
		if [ "$(stat -c %u:%g .)" = 0:0 ]; then
			chown "$owner:$group" .
		fi
	else
		owner="$(id -u)"
		group="$(id -g)"
		# The same holds for folders in it that are there already, such as the place of a volume.
		unpack+=(--no-overwrite-dir)
	fi
	# The folder itself is not in the archive: its mode may be somebody else's to set.
	tar "${pack[@]}" --owner "$owner" --group "$group" --files-from <(ls -A "$source_folder") | tar "${unpack[@]}"
}

random_phrase() {
	head -c 64 /dev/urandom | sha1sum | cut -d ' ' -f 1
}

write_config() {
	local line place new
	new="$(mktemp ./.wp-config.XXXXXX)"
	while IFS= read -r line || [ -n "$line" ]; do
		place='put your unique phrase here'
		if [[ "$line" == *"$place"* ]]; then
			line="${line/"$place"/"$(random_phrase)"}"
		fi
		printf '%s\n' "$line"
	done < wp-config-docker.php > "$new"
	if [ "$(id -u)" = 0 ]; then
		chown --reference . "$new"
	fi
	chmod 0644 "$new"
	mv -f "$new" wp-config.php
}

has_settings() {
	compgen -A export -X '!WORDPRESS_*' > /dev/null
}

ensure_installed() {
	if [ ! -e index.php ] && [ ! -e wp-includes/version.php ]; then
		says "copying WordPress to $PWD"
		copy_tree
		says "WordPress is in $PWD"
	fi
	if [ ! -s wp-config.php ] && [ -e wp-config-docker.php ] && has_settings; then
		says "writing wp-config.php, which reads the WORDPRESS_ variables"
		write_config
	fi
}

called_as="$(basename "$0")"
first="${1:-}"
if [ "$called_as" = docker-ensure-installed.sh ] || [[ "$first" == apache2* ]] || [ "$first" = php-fpm ]; then
	ensure_installed
fi

if [ "$#" -gt 0 ]; then
	exec "$@"
fi
