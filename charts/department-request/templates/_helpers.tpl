{{- define "request.department" -}}
{{- $home := .Release.Namespace -}}
{{- if not (regexMatch "^dept-." $home) }}{{ fail (printf "namespace: a request is made in the department's home, dept-<name>, and this is %q; install it with -n dept-…" $home) }}{{ end -}}
{{- trimPrefix "dept-" $home -}}
{{- end }}

{{- define "request.name" -}}
{{- $name := .Values.name | default .Release.Name -}}
{{- $most := ternary 36 40 (not (empty .Values.protection)) -}}
{{- if gt (len $name) $most }}{{ fail (printf "name: at most %d characters, %q has %d; choose another with --set name=…" $most $name (len $name)) }}{{ end -}}
{{- if contains "." $name }}{{ fail (printf "name: no dot, as in %q; choose another with --set name=…" $name) }}{{ end -}}
{{- $name -}}
{{- end }}

{{- define "request.system" -}}
{{- $system := printf "%s-%s" (include "request.department" .) (include "request.name" .) -}}
{{- if gt (len $system) 63 }}{{ fail (printf "name: the system's namespace %q would have %d characters, and 63 are allowed; choose a shorter name" $system (len $system)) }}{{ end -}}
{{- $system -}}
{{- end }}

{{- define "request.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* Amounts, always as text: large numbers would be written as 1e+06. */ -}}
{{- define "request.quantities" -}}
{{- $text := dict -}}
{{- range $resource, $amount := . }}{{ $_ := set $text $resource (ternary $amount ($amount | int64 | toString) (kindIs "string" $amount)) }}{{ end -}}
{{- toYaml $text -}}
{{- end }}
