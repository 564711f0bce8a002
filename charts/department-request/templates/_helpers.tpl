{{- define "request.policy" -}}
{{- $name := .Values.name | default .Release.Name -}}
{{- if gt (len $name) 36 }}{{ fail (printf "name: at most 36 characters, %q has %d; set --set name=…" $name (len $name)) }}{{ end -}}
{{- $name -}}
{{- end }}

{{- define "request.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
