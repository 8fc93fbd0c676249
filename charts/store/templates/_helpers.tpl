{{/* All helpers are prefixed with `store.`: template names are global, also across charts. */}}

{{- define "store.wordpressName" -}}{{ .Release.Name }}-wordpress{{- end }}
{{- define "store.mariadbName" -}}{{ .Release.Name }}-mariadb{{- end }}
{{/* The Service that gives MariaDB's pod its name; WordPress uses the one with an address, which outlives the pod. */}}
{{- define "store.mariadbPodsName" -}}{{ include "store.mariadbName" . }}-pods{{- end }}
{{- define "store.uploadsName" -}}{{ .Release.Name }}-uploads{{- end }}
{{- define "store.credentialsName" -}}{{ .Values.credentials.existingSecret | default (printf "%s-credentials" .Release.Name) }}{{- end }}
{{- define "store.serviceAccountName" -}}{{ .Values.serviceAccount.name | default (printf "%s-store" .Release.Name) }}{{- end }}

{{/* Labels that select the pods of one component. They can never change: a Deployment's selector is immutable.
     Call with (dict "root" $ "component" "wordpress"). */}}
{{- define "store.selectorLabels" -}}
app.kubernetes.io/name: store
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of every object. Called as store.selectorLabels. */}}
{{- define "store.labels" -}}
{{ include "store.selectorLabels" . }}
app.kubernetes.io/part-of: multi-store-platform
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Digest of what a template puts into its ConfigMap, without the labels: so a new chart version alone restarts no pod.
     Call with (dict "root" $ "file" "mariadb-configmap.yaml"). */}}
{{- define "store.dataChecksum" -}}
{{ (include (print .root.Template.BasePath "/" .file) .root | fromYaml).data | toJson | sha256sum }}
{{- end }}

{{/* Reference of an image: registry/repository:tag, and its digest if there is one. Call with the image's values. */}}
{{- define "store.image" -}}
{{ .registry }}/{{ .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}

{{/* The platform's host of the shop: always there, whatever becomes of the shop's own domains. */}}
{{- define "store.platformHost" -}}
{{ .Values.ingress.host | default (printf "%s.%s" .Release.Name .Values.ingress.domain) }}
{{- end }}

{{/* Host of the shop's address: its first own domain, else the platform's host. */}}
{{- define "store.host" -}}
{{ first .Values.ingress.domains | default (include "store.platformHost" .) }}
{{- end }}

{{/* Hosts that lead to the shop and are not its address, as a regular expression; empty: there is none. */}}
{{- define "store.otherHosts" -}}
{{- if .Values.ingress.domains -}}
{{- $others := list -}}
{{- range append (rest .Values.ingress.domains) (include "store.platformHost" .) -}}
{{- $others = append $others (regexQuoteMeta .) -}}
{{- end -}}
{{ join "|" $others }}
{{- end -}}
{{- end }}

{{- define "store.domainsName" -}}{{ .Release.Name }}-domains{{- end }}

{{/* TLS Secret of one of the shop's own domains. Call with the domain. */}}
{{- define "store.domainSecret" -}}tls-{{ . }}{{- end }}

{{/* Whether the shop's own domains get listeners of their own at a Gateway: `true`, or nothing. */}}
{{- define "store.hasListenerSet" -}}
{{- $ingress := .Values.ingress -}}
{{- if and $ingress.enabled (eq $ingress.kind "HTTPRoute") $ingress.domains $ingress.tls.enabled $ingress.tls.clusterIssuer }}true{{ end -}}
{{- end }}

{{- define "store.ingressPaths" -}}
paths:
  - path: /
    pathType: Prefix
    backend:
      service:
        name: {{ include "store.wordpressName" . }}
        port:
          name: http
{{- end }}

{{- define "store.routeRules" -}}
- matches:
    - path:
        type: PathPrefix
        value: /
  backendRefs:
    - name: {{ include "store.wordpressName" . }}
      port: 80
{{- end }}

{{/* Host as browsers send it: with the port, unless it is the scheme's own. */}}
{{- define "store.hostHeader" -}}
{{- $own := eq .Values.ingress.scheme "https" | ternary 443 80 -}}
{{ include "store.host" . }}{{ if ne (int .Values.ingress.port) $own }}:{{ int .Values.ingress.port }}{{ end }}
{{- end }}

{{/* Address of the shop, without a trailing slash. */}}
{{- define "store.url" -}}
{{ .Values.ingress.scheme }}://{{ include "store.hostHeader" . }}
{{- end }}

{{/* Address of the one receiver of this shop's events, or nothing. */}}
{{- define "store.receiverUrl" -}}
{{ .Values.webhooks.receiverUrl | replace "{store}" .Release.Name }}
{{- end }}

{{/* Mounts of every container that runs WordPress: the platform's own plugins and what they are told. Nested in the code,
     so that they are the same whether that is a volume or comes from the image at each start. */}}
{{- define "store.platformMounts" -}}
- name: mu-plugins
  mountPath: /var/www/html/wp-content/mu-plugins
  readOnly: true
- name: platform
  mountPath: /etc/store/platform
  readOnly: true
{{- include "store.databaseCaMount" . }}
{{- if and .Values.webhooks.receiverUrl .Values.webhooks.ca.configMap }}
- name: webhook-ca
  mountPath: /etc/store/webhook-ca
  readOnly: true
{{- end }}
{{- if .Values.mail.smtp.existingSecret }}
- name: smtp
  mountPath: /etc/store/smtp
  readOnly: true
{{- end }}
{{- if and .Values.mail.smtp.host .Values.mail.smtp.ca.configMap }}
- name: smtp-ca
  mountPath: /etc/store/smtp-ca
  readOnly: true
{{- end }}
{{- end }}

{{/* Mount of the secret that events are signed with, for the two containers that need it. */}}
{{- define "store.webhookMount" -}}
{{- if .Values.webhooks.receiverUrl }}
- name: webhook
  mountPath: /etc/store/webhook
  readOnly: true
{{- end }}
{{- end }}

{{/* What the ingress controller would send: WordPress answers any other host or scheme by a redirect. */}}
{{- define "store.probeHeaders" -}}
- name: Host
  value: {{ include "store.hostHeader" . | quote }}
- name: X-Forwarded-Proto
  value: {{ .Values.ingress.scheme }}
{{- end }}

{{/* MiB of a quantity in Mi or Gi, the two units that the schema lets through. */}}
{{- define "store.mebibytes" -}}
{{- if hasSuffix "Gi" . }}{{ mul 1024 (trimSuffix "Gi" . | int) }}{{ else }}{{ trimSuffix "Mi" . | int }}{{ end }}
{{- end }}

{{/* Thousandths of a CPU, of `600m`, `0.5`, `1` or a number. */}}
{{- define "store.millicores" -}}
{{- $cpu := toString . -}}
{{- if hasSuffix "m" $cpu }}{{ trimSuffix "m" $cpu | int }}{{ else }}{{ round (mulf (float64 $cpu) 1000) 0 | int }}{{ end }}
{{- end }}

{{/* Room for temporary files of a web pod, in MiB: an upload, and once more as WordPress works on it. */}}
{{- define "store.webTmpMib" -}}
{{- add 256 (mul 2 .Values.web.php.uploadMaxMib) -}}
{{- end }}

{{/* Apache's worker processes. A worker with WooCommerce takes 60 to 110 MiB, the parent with its caches the rest. */}}
{{- define "store.maxRequestWorkers" -}}
{{- $memory := include "store.mebibytes" .Values.web.resources.limits.memory | int -}}
{{- int .Values.web.maxRequestWorkers | default (max 2 (div (sub $memory 128) 96)) -}}
{{- end }}

{{/* PHP's limit for one request, in MiB: never so much that a single one would have its container killed. */}}
{{- define "store.phpMemoryLimitMib" -}}
{{- min .Values.web.php.memoryLimitMib (sub (include "store.mebibytes" .Values.web.resources.limits.memory | int) 64) -}}
{{- end }}

{{/* PHP's limit for the scheduled tasks in MiB: the container's, less what the loop, heartbeats and shells take. */}}
{{- define "store.cronPhpMemoryMib" -}}
{{- sub (include "store.mebibytes" .Values.cron.resources.limits.memory | int) 96 -}}
{{- end }}

{{/* InnoDB's buffer pool in MiB. */}}
{{- define "store.innodbBufferPoolSizeMib" -}}
{{- $memory := include "store.mebibytes" .Values.database.resources.limits.memory | int -}}
{{- int .Values.database.innodbBufferPoolSizeMib | default (div (mul $memory 3) 8) -}}
{{- end }}

{{/* Security context of every container: the restricted profile, and a root file system that nobody can write. */}}
{{- define "store.containerSecurityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Security context of a pod whose processes, group and volumes have one id. Call with that id. */}}
{{- define "store.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ int . }}
runAsGroup: {{ int . }}
fsGroup: {{ int . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Environment of every container that runs WordPress. `_FILE`: the image reads the value from that file at each
     request, so that no secret is in the environment, where each child process would have it. */}}
{{- define "store.wordpressEnv" -}}
- name: WORDPRESS_DB_HOST
  value: {{ include "store.databaseAddress" . | quote }}
- name: WORDPRESS_DB_NAME
  value: {{ include "store.databaseName" . | quote }}
- name: WORDPRESS_DB_USER
  value: {{ include "store.databaseUser" . | quote }}
{{- include "store.databaseCaEnv" . }}
- name: WORDPRESS_DB_PASSWORD_FILE
  value: /etc/store/credentials/mariadb-password
{{- range (include "store.saltKeys" . | fromJsonArray) }}
- name: {{ . | upper | replace "-" "_" }}_FILE
  value: /etc/store/credentials/{{ . }}
{{- end }}
- name: WORDPRESS_CONFIG_EXTRA
  value: |
    define('WP_HOME', '{{ include "store.url" . }}');
    {{- if include "store.databaseCa" . }}
    define('MYSQL_CLIENT_FLAGS', MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_VERIFY_SERVER_CERT);
    {{- end }}
    define('WP_SITEURL', '{{ include "store.url" . }}');
    define('DISABLE_WP_CRON', true);
    {{- if eq .Values.wpContent.mode "immutable" }}
    define('DISALLOW_FILE_MODS', true);
    {{- end }}
    define('DISALLOW_FILE_EDIT', true);
    define('AUTOMATIC_UPDATER_DISABLED', true);
    define('FS_METHOD', 'direct');
    // WordPress raises PHP's limit to its own, above what the container has.
    define('WP_MEMORY_LIMIT', ini_get('memory_limit'));
    define('WP_MAX_MEMORY_LIMIT', ini_get('memory_limit'));
    {{- if not .Values.web.externalRequests }}
    define('WP_HTTP_BLOCK_EXTERNAL', true);
    {{- end }}
{{- end }}

{{/* The database: the store's own server, or one that many stores share, where each has a database and a user of its own.
     Their names come from the release's, so that no two stores can have the same. */}}
{{- define "store.databaseAddress" -}}
{{- $external := .Values.database.external -}}
{{- if $external.host }}{{ printf "%s:%d" $external.host (int $external.port) }}{{ else }}{{ include "store.mariadbName" . }}{{ end }}
{{- end }}

{{- define "store.databaseName" -}}
{{- if .Values.database.external.host }}{{ replace "-" "_" .Release.Name }}{{ else }}{{ .Values.database.name }}{{ end }}
{{- end }}

{{- define "store.databaseUser" -}}
{{- if .Values.database.external.host }}{{ replace "-" "_" .Release.Name }}{{ else }}{{ .Values.database.user }}{{ end }}
{{- end }}

{{/* Whether the server's certificate is verified: `true`, or nothing. */}}
{{- define "store.databaseCa" -}}
{{- with .Values.database.external }}{{ if and .host (or .ca.configMap .ca.secret) }}true{{ end }}{{ end -}}
{{- end }}

{{/* Where set, no script connects but by TLS to a server whose certificate this authority has signed, by the right name. */}}
{{- define "store.databaseCaEnv" -}}
{{- if include "store.databaseCa" . }}
- name: DATABASE_CA
  value: /etc/store/database-ca/ca.crt
{{- end }}
{{- end }}

{{- define "store.databaseCaMount" -}}
{{- if include "store.databaseCa" . }}
- name: database-ca
  mountPath: /etc/store/database-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "store.databaseCaVolume" -}}
{{- if include "store.databaseCa" . }}
{{- with .Values.database.external.ca }}
- name: database-ca
  {{- if .configMap }}
  configMap:
    name: {{ .configMap | quote }}
  {{- else }}
  secret:
    secretName: {{ .secret | quote }}
    defaultMode: 0440
  {{- end }}
    items:
      - key: {{ .key | quote }}
        path: ca.crt
{{- end }}
{{- end }}
{{- end }}

{{/* PHP's streams know one file of authorities; WordPress connects by it. The install makes it of the public ones and the
     database's. Call with (dict "root" $ "readOnly" true). */}}
{{- define "store.authoritiesMount" -}}
{{- if include "store.databaseCa" .root }}
- name: authorities
  mountPath: /var/lib/store/authorities
  {{- if .readOnly }}
  readOnly: true
  {{- end }}
{{- end }}
{{- end }}

{{/* Keys of the credentials Secret that hold WordPress' keys and salts. */}}
{{- define "store.saltKeys" -}}
["wordpress-auth-key", "wordpress-secure-auth-key", "wordpress-logged-in-key", "wordpress-nonce-key", "wordpress-auth-salt", "wordpress-secure-auth-salt", "wordpress-logged-in-salt", "wordpress-nonce-salt"]
{{- end }}

{{/* When the store is backed up: every `backup.everyHours`, from `backup.startHour` on, at a minute that its name gives. */}}
{{- define "store.backupSchedule" -}}
{{- $every := int .Values.backup.everyHours -}}
{{- $offset := mod (adler32sum .Release.Name | int64) (min (int .Values.backup.spreadMinutes) (mul 60 $every)) -}}
{{- $first := add (int .Values.backup.startHour) (div $offset 60) -}}
{{- $hours := list -}}
{{- range $turn := until (div 24 $every | int) }}
{{- $hours = append $hours (printf "%02d" (mod (add $first (mul $turn $every)) 24)) }}
{{- end }}
{{- $plain := list }}
{{- range (sortAlpha $hours) }}
{{- $plain = append $plain (trimPrefix "0" . | default "0") }}
{{- end }}
{{- printf "%d %s * * *" (mod $offset 60) (join "," $plain) }}
{{- end }}

{{/* What the pods of a backup and of a restore have in common. The web pods' user owns the uploads. */}}
{{- define "store.backupPod" -}}
restartPolicy: Never
serviceAccountName: {{ include "store.serviceAccountName" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "store.podSecurityContext" .Values.web.userId | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "store.backupDatabaseEnv" -}}
- name: DATABASE_ADDRESS
  value: {{ include "store.databaseAddress" . | quote }}
- name: DATABASE_NAME
  value: {{ include "store.databaseName" . | quote }}
- name: DATABASE_USER
  value: {{ include "store.databaseUser" . | quote }}
{{- include "store.databaseCaEnv" . }}
{{- end }}

{{- define "store.backupRepositoryEnv" -}}
- name: STORE_ID
  value: {{ .Release.Name | quote }}
- name: REPOSITORY_KIND
  value: {{ .Values.backup.repository.kind }}
- name: REPOSITORY_URL
  value: {{ .Values.backup.repository.url | quote }}
- name: REPOSITORY_ID
  value: {{ .Values.backup.repository.id | default .Release.Name | quote }}
{{- end }}

{{/* What a container of restic needs beside the data: keys, room for its cache and for reports, the scripts. */}}
{{- define "store.backupRepositoryMounts" -}}
- name: private
  mountPath: /run/store
- name: tmp
  mountPath: /tmp
- name: scripts
  mountPath: /etc/store/backup
  readOnly: true
- name: repository
  mountPath: /etc/store/repository
  readOnly: true
{{- if .Values.backup.repository.accessSecret }}
- name: access
  mountPath: /etc/store/access
  readOnly: true
{{- end }}
{{- end }}

{{- define "store.backupVolumes" -}}
- name: scratch
  emptyDir:
    sizeLimit: {{ .Values.backup.scratchSize }}
# In memory, because passwords lie in it.
- name: private
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
- name: tmp
  emptyDir:
    sizeLimit: 512Mi
- name: scripts
  configMap:
    name: {{ .Release.Name }}-backup
- name: credentials
  secret:
    secretName: {{ include "store.credentialsName" . | quote }}
    defaultMode: 0440
    items:
      - key: mariadb-password
        path: mariadb-password
- name: repository
  secret:
    secretName: {{ include "store.credentialsName" . | quote }}
    defaultMode: 0440
    items:
      - key: backup-password
        path: backup-password
      {{- if eq .Values.backup.repository.kind "rest" }}
      - key: backup-access
        path: backup-access
      {{- end }}
{{- include "store.databaseCaVolume" . }}
{{- with .Values.backup.repository.accessSecret }}
- name: access
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* Every plugin and theme that the install puts in place, as a JSON list. `value` names the chart's value in messages. */}}
{{- define "store.packages" -}}
{{- $packages := list -}}
{{- range $slug, $kind := dict "storefront" "theme" "woocommerce" "plugin" }}
{{- $source := get $.Values $slug }}
{{- if $source.enabled }}
{{- $packages = append $packages (dict "kind" $kind "slug" $slug "version" $source.version "url" $source.url "sha256" $source.sha256 "value" $slug) }}
{{- end }}
{{- end }}
{{- range $value, $kind := dict "plugins" "plugin" "themes" "theme" }}
{{- range $index, $package := get $.Values $value }}
{{- $packages = append $packages (merge (dict "kind" $kind "value" (printf "%s[%d]" $value $index)) $package) }}
{{- end }}
{{- end }}
{{- toJson $packages }}
{{- end }}

{{/* The theme that the shop shows; empty: whatever WordPress chose. */}}
{{- define "store.theme" -}}
{{- if .Values.themes }}{{ (first .Values.themes).slug }}{{ else if .Values.storefront.enabled }}storefront{{ end }}
{{- end }}

{{/* Mounts of wp-content where it outlives the pod, and of the uploads in it. */}}
{{- define "store.contentMounts" -}}
{{- if eq .Values.wpContent.mode "persistent" }}
- name: uploads
  mountPath: /var/www/html/wp-content
  subPath: wp-content
{{- end }}
- name: uploads
  mountPath: /var/www/html/wp-content/uploads
  subPath: uploads
{{- end }}

{{/* Ends the rendering with every mistake that a schema cannot see, all at once: value, what is wrong, cure. */}}
{{- define "store.validate" -}}
{{- $problems := list -}}
{{- $ingress := .Values.ingress -}}
{{- $tls := $ingress.tls -}}
{{- if gt (len .Release.Name) 44 }}
{{- $problems = append $problems (printf "the release's name %q has %d characters, and the names that are made of it have room for 44; choose a shorter one" .Release.Name (len .Release.Name)) }}
{{- end }}
{{- if and (gt (int .Values.web.replicas) 1) (ne .Values.uploads.accessMode "ReadWriteMany") }}
{{- $problems = append $problems (printf "web.replicas: %d web pods cannot share a volume with uploads.accessMode %s; set uploads.accessMode to ReadWriteMany, or web.replicas to 1" (int .Values.web.replicas) .Values.uploads.accessMode) }}
{{- end }}
{{- $memory := .Values.web.resources.limits.memory }}
{{- if lt (include "store.mebibytes" $memory | int) 256 }}
{{- $problems = append $problems (printf "web.resources.limits.memory: %s is too little for WordPress; set at least 256Mi" $memory) }}
{{- end }}
{{- $memory = .Values.database.resources.limits.memory }}
{{- if lt (include "store.mebibytes" $memory | int) 192 }}
{{- $problems = append $problems (printf "database.resources.limits.memory: %s is too little for MariaDB; set at least 192Mi" $memory) }}
{{- end }}
{{- $external := .Values.database.external }}
{{- if and $external.ca.configMap $external.ca.secret }}
{{- $problems = append $problems (printf "database.external.ca: both configMap %q and secret %q; keep one of them" $external.ca.configMap $external.ca.secret) }}
{{- end }}
{{- if and (not $external.host) (or $external.ca.configMap $external.ca.secret) }}
{{- $problems = append $problems "database.external.ca: set, but database.external.host is empty, so it would do nothing; set database.external.host, or empty it" }}
{{- end }}
{{- $memory = .Values.cron.resources.limits.memory }}
{{- if lt (include "store.cronPhpMemoryMib" . | int) 96 }}
{{- $problems = append $problems (printf "cron.resources.limits.memory: %s leaves %s MiB to a task of WordPress, beside the 96 MiB of what runs it; set at least 192Mi" $memory (include "store.cronPhpMemoryMib" .)) }}
{{- end }}
{{- $containers := dict "web" .Values.web.resources "cron" .Values.cron.resources "backup" .Values.backup.resources }}
{{- if not $external.host }}
{{- $_ := set $containers "database" .Values.database.resources }}
{{- end }}
{{- range $path, $resources := $containers }}
{{- range $name := list "cpu" "memory" "ephemeral-storage" }}
{{- $request := get $resources.requests $name | toString }}
{{- $limit := get $resources.limits $name | toString }}
{{- $amount := eq $name "cpu" | ternary "store.millicores" "store.mebibytes" }}
{{- if and $request $limit (gt (include $amount $request | int) (include $amount $limit | int)) }}
{{- $problems = append $problems (printf "%s.resources.requests.%s: %s is above %s.resources.limits.%s %s; lower it, or raise the limit" $path $name $request $path $name $limit) }}
{{- end }}
{{- end }}
{{- end }}
{{- /* The volumes of a web pod that lie on its node: code, /run and temporary files. */}}
{{- $local := add 1024 16 (include "store.webTmpMib" . | int) }}
{{- with get .Values.web.resources.limits "ephemeral-storage" }}
{{- if lt (include "store.mebibytes" . | int) (int $local) }}
{{- $problems = append $problems (printf "web.resources.limits.ephemeral-storage: %s is less than the %dMi of code and temporary files that go with web.php.uploadMaxMib %d; set at least %dMi, or lower web.php.uploadMaxMib" . $local (int $.Values.web.php.uploadMaxMib) $local) }}
{{- end }}
{{- end }}
{{- $shutdown := .Values.web.shutdown }}
{{- if lt (int $shutdown.graceSeconds) (add $shutdown.drainSeconds 10 | int) }}
{{- $problems = append $problems (printf "web.shutdown.graceSeconds: %d leaves less than 10 seconds after web.shutdown.drainSeconds %d; set at least %d" (int $shutdown.graceSeconds) (int $shutdown.drainSeconds) (add $shutdown.drainSeconds 10)) }}
{{- end }}
{{- $other := eq $ingress.scheme "https" | ternary 80 443 }}
{{- if eq (int $ingress.port) $other }}
{{- $problems = append $problems (printf "ingress.port: %d is not %s's port; set ingress.port to %d" $other $ingress.scheme (eq $other 80 | ternary 443 80)) }}
{{- end }}
{{- if has (include "store.platformHost" .) $ingress.domains }}
{{- $problems = append $problems (printf "ingress.domains: %s is the platform's host already; remove it from ingress.domains" (include "store.platformHost" .)) }}
{{- end }}
{{- if and $tls.secretName (eq $ingress.kind "HTTPRoute") }}
{{- $problems = append $problems (printf "ingress.tls.secretName: %s would do nothing with ingress.kind HTTPRoute; name the Secret in the Gateway's listener, and empty it here" $tls.secretName) }}
{{- end }}
{{- if and $tls.enabled (ne $ingress.scheme "https") }}
{{- $problems = append $problems (printf "ingress.scheme: %s, but ingress.tls.enabled is true; set ingress.scheme to https and ingress.port to 443, or ingress.tls.enabled to false" $ingress.scheme) }}
{{- end }}
{{- if and (not $tls.enabled) (or $tls.secretName $tls.clusterIssuer) }}
{{- $problems = append $problems (printf "ingress.tls.enabled: false, so ingress.tls.secretName %q and ingress.tls.clusterIssuer %q would do nothing; set ingress.tls.enabled to true, or empty both" $tls.secretName $tls.clusterIssuer) }}
{{- end }}
{{- if and $tls.enabled (not $ingress.enabled) }}
{{- $problems = append $problems "ingress.tls.enabled: true, but ingress.enabled is false; set ingress.enabled to true, or ingress.tls.enabled to false" }}
{{- end }}
{{- $smtp := .Values.mail.smtp }}
{{- if and $smtp.user (not $smtp.existingSecret) }}
{{- $problems = append $problems (printf "mail.smtp.existingSecret: empty, but mail.smtp.user is %q; name the Secret with the password, or empty mail.smtp.user" $smtp.user) }}
{{- end }}
{{- if and $smtp.existingSecret (not $smtp.user) }}
{{- $problems = append $problems (printf "mail.smtp.user: empty, so the password of mail.smtp.existingSecret %q would do nothing; set mail.smtp.user, or empty mail.smtp.existingSecret" $smtp.existingSecret) }}
{{- end }}
{{- if and $smtp.user (eq $smtp.encryption "none") }}
{{- $problems = append $problems "mail.smtp.encryption: none, so the password of mail.smtp.user would travel in the clear; set it to starttls or tls, or empty mail.smtp.user" }}
{{- end }}
{{- if and (not $smtp.host) (or $smtp.user $smtp.from $smtp.fromName $smtp.ca.configMap) }}
{{- $problems = append $problems "mail.smtp.host: empty, so the other values of mail.smtp would do nothing; set mail.smtp.host, or empty them" }}
{{- end }}
{{- if and .Values.webhooks.ca.configMap (not (hasPrefix "https://" .Values.webhooks.receiverUrl)) }}
{{- $problems = append $problems (printf "webhooks.ca.configMap: %s would do nothing, because webhooks.receiverUrl is %q; set an https URL, or empty webhooks.ca.configMap" .Values.webhooks.ca.configMap .Values.webhooks.receiverUrl) }}
{{- end }}
{{- $repository := .Values.backup.repository }}
{{- if and .Values.backup.enabled (eq $repository.kind "s3") (not $repository.accessSecret) }}
{{- $problems = append $problems "backup.repository.accessSecret: empty, but backup.repository.kind is s3; name the Secret with access-key-id and secret-access-key" }}
{{- end }}
{{- if and (eq $repository.kind "rest") $repository.accessSecret }}
{{- $problems = append $problems (printf "backup.repository.accessSecret: %q would do nothing with backup.repository.kind rest; empty it" $repository.accessSecret) }}
{{- end }}
{{- if gt (int .Values.backup.spreadMinutes) (mul 60 .Values.backup.everyHours | int) }}
{{- $problems = append $problems (printf "backup.spreadMinutes: %d is more than the %d minutes between two backups; lower it, or raise backup.everyHours" (int .Values.backup.spreadMinutes) (mul 60 .Values.backup.everyHours)) }}
{{- end }}
{{- range $name := list "woocommerce" "storefront" }}
{{- $source := get $.Values $name }}
{{- if and $source.url (not (and $source.version $source.sha256)) }}
{{- $problems = append $problems (printf "%s.url: %s, without %s; set both %s.version and %s.sha256, so that it can only be what was meant" $name $source.url (ternary (printf "%s.sha256" $name) (printf "%s.version" $name) (not (empty $source.version))) $name $name) }}
{{- end }}
{{- if and $source.sha256 (not $source.url) }}
{{- $problems = append $problems (printf "%s.sha256: set, but %s.url is empty; set %s.url, or empty %s.sha256" $name $name $name $name) }}
{{- end }}
{{- end }}
{{- range $value, $reserved := dict "plugins" "woocommerce" "themes" "storefront" }}
{{- $seen := dict }}
{{- range $index, $package := get $.Values $value }}
{{- if hasKey $seen $package.slug }}
{{- $problems = append $problems (printf "%s[%d].slug: %s is already %s[%d]; remove one of them" $value $index $package.slug $value (get $seen $package.slug)) }}
{{- end }}
{{- if eq $package.slug $reserved }}
{{- $problems = append $problems (printf "%s[%d].slug: %s has a value of its own; set %s.version, %s.url and %s.sha256 instead" $value $index $reserved $reserved $reserved $reserved) }}
{{- end }}
{{- $_ := set $seen $package.slug $index }}
{{- end }}
{{- end }}
{{- if and (eq .Values.wpContent.mode "persistent") (gt (int .Values.web.replicas) 1) }}
{{- $problems = append $problems (printf "wpContent.mode: persistent is for one web pod, and web.replicas is %d; set web.replicas to 1, or wpContent.mode to immutable" (int .Values.web.replicas)) }}
{{- end }}
{{- if $problems }}
{{- fail (printf "\n%s\n" (join "\n" $problems)) }}
{{- end }}
{{- end }}
