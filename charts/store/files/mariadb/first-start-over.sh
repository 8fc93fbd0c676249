# The image runs this at the end of the first start; prepare-volume.sh looks for the mark.
touch /var/lib/mysql/.store-first-start-over
