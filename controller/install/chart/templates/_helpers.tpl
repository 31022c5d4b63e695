{{- define "edgekit.config" -}}
{{- $decided := dict "install" "false" "metrics-listen" ":10001" "metrics-open" "true" "namespace" .Release.Namespace -}}
{{- range $name := list "config" "install" "kubeconfig" "listen" "metrics-listen" "metrics-open" "namespace" -}}
{{- if hasKey $.Values.settings $name -}}{{- fail (printf "settings.%s is decided by the chart: leave it out" $name) -}}{{- end -}}
{{- end -}}
{{- if .Values.advertise -}}{{- $_ := set $decided "advertise" .Values.advertise -}}{{- end -}}
{{- toYaml (merge (deepCopy .Values.settings) $decided) -}}
{{- end -}}
