package install_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/monitoring"
)

const notice = "# Written by 'go generate' in controller/install; do not edit.\n"

// inChart are the places of the kustomize base where the chart has a value.
var inChart = [...]struct{ from, to string }{
	{"  type: LoadBalancer\n", "  type: {{ .Values.service.type }}\n"},
	{"  # Limits apply to the addresses of the nodes, so these must arrive.\n  externalTrafficPolicy: Local\n", `  {{- if eq .Values.service.type "LoadBalancer" }}
  # Limits apply to the addresses of the nodes, so these must arrive.
  externalTrafficPolicy: Local
  {{- end }}
`},
	{"  ipFamilyPolicy: PreferDualStack\n", "  ipFamilyPolicy: {{ .Values.service.ipFamilyPolicy }}\n"},
	{"    targetPort: link-tcp\n", "    targetPort: link-tcp\n    {{- with .Values.service.nodePort }}\n    nodePort: {{ . }}\n    {{- end }}\n"},
	{"    targetPort: link-udp\n", "    targetPort: link-udp\n    {{- with .Values.service.nodePort }}\n    nodePort: {{ . }}\n    {{- end }}\n"},
	{"  replicas: 2\n", "  replicas: {{ .Values.replicas }}\n"},
	{`edgekit.io/config-sha256: ""`, `edgekit.io/config-sha256: {{ include "edgekit.config" . | sha256sum }}`},
	{"terminationGracePeriodSeconds: 45\n", "terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}\n      {{- with .Values.imagePullSecrets }}\n      imagePullSecrets:\n        {{- toYaml . | nindent 8 }}\n      {{- end }}\n"},
	{"image: edgekit/cloudcore:latest\n", "image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}\n"},
	{"          value: 1800MiB\n", "          value: {{ .Values.goMemoryLimit }}\n"},
	{`          requests:
            cpu: 100m
            memory: 256Mi
          # 100,000 nodes over QUIC take 6 GiB; 2 GiB is for 30,000.
          limits:
            memory: 2Gi
`, "          {{- toYaml .Values.resources | nindent 10 }}\n"},
	{`              labelSelector:
                matchLabels:
                  app.kubernetes.io/name: cloudcore
      containers:
`, `              labelSelector:
                matchLabels:
                  app.kubernetes.io/name: cloudcore
      {{- with .Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
`},
	{"  maxUnavailable: 1\n  unhealthy", "  maxUnavailable: {{ .Values.podDisruptionBudget.maxUnavailable }}\n  unhealthy"},
}

// template makes a template of the chart of a file of the kustomize base.
func template(text []byte) []byte {
	return bytes.ReplaceAll(text, []byte("namespace: "+install.Namespace+"\n"), []byte("namespace: {{ .Release.Namespace }}\n"))
}

// when makes text depend on a condition.
func when(condition string, text []byte) []byte {
	return slices.Concat([]byte("{{- if "+condition+" }}\n"), bytes.TrimRight(text, "\n"), []byte("\n{{- end }}\n"))
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("kustomize", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// definitions returns the CustomResourceDefinitions of the manifest.
func definitions(t *testing.T) []byte {
	t.Helper()
	text, err := install.Manifest("")
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for doc := range bytes.SplitSeq(text, []byte("---\n")) {
		if bytes.Contains(doc, []byte("kind: CustomResourceDefinition\n")) {
			out = append(out, doc)
		}
	}
	return bytes.Join(out, []byte("---\n"))
}

// workload is the chart's template of the base's cloudcore.yaml.
func workload(t *testing.T) []byte {
	t.Helper()
	text := string(template(read(t, "cloudcore.yaml")))
	for _, change := range inChart {
		if n := strings.Count(text, change.from); n != 1 {
			t.Errorf("kustomize/cloudcore.yaml has %d times %q: correct inChart, so that the chart keeps its value", n, change.from)
		}
		text = strings.Replace(text, change.from, change.to, 1)
	}
	return []byte(text)
}

// monitored is a template of an object that has templates of Prometheus or of Grafana in it.
func monitored(t *testing.T, write func(monitoring.Config) ([]byte, error)) []byte {
	t.Helper()
	text, err := write(monitoring.Config{Namespace: install.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	return template(bytes.ReplaceAll(text, []byte("{{"), []byte("{{ `{{` }}")))
}

// TestGeneratedFiles compares the files that the base and the chart have from elsewhere with
// their sources. EDGEKIT_UPDATE=1 writes them: this is what go generate does.
func TestGeneratedFiles(t *testing.T) {
	crds := definitions(t)
	keep := bytes.ReplaceAll(crds, []byte("\nmetadata:\n  annotations:\n"), []byte("\nmetadata:\n  annotations:\n    helm.sh/resource-policy: keep\n"))
	if n, all := bytes.Count(keep, []byte("resource-policy: keep")), bytes.Count(crds, []byte("kind: CustomResourceDefinition\n")); n != all {
		t.Errorf("%d of %d definitions stay when the chart is removed", n, all)
	}
	if bytes.Contains(crds, []byte("{{")) {
		keep = bytes.ReplaceAll(keep, []byte("{{"), []byte("{{ `{{` }}"))
	}
	files := map[string][]byte{
		"kustomize/crds.yaml":                crds,
		"chart/templates/crds.yaml":          when(".Values.crds", keep),
		"chart/templates/rbac.yaml":          template(read(t, "rbac.yaml")),
		"chart/templates/rbac-legacy.yaml":   when(`eq .Values.impersonation "legacy"`, template(read(t, "rbac-legacy.yaml"))),
		"chart/templates/twins.yaml":         when(".Values.twins", template(read(t, "twins.yaml"))),
		"chart/templates/applications.yaml":  when(".Values.applications", template(read(t, "applications.yaml"))),
		"chart/templates/autonomy.yaml":      when(".Values.autonomyLabel", read(t, "autonomy.yaml")),
		"chart/templates/device-policy.yaml": when(".Values.devicePolicy", []byte(devices.Policy())),
		"chart/templates/cloudcore.yaml":     workload(t),

		"chart/templates/prometheus-rule.yaml":   when(".Values.prometheusRule", monitored(t, monitoring.PrometheusRule)),
		"chart/templates/grafana-dashboard.yaml": when(".Values.grafanaDashboard", monitored(t, monitoring.DashboardConfigMap)),
	}
	for name, want := range files {
		want = append([]byte(notice), want...)
		if os.Getenv("EDGEKIT_UPDATE") != "" {
			if err := os.WriteFile(name, want, 0o644); err != nil { //nolint:gosec // everybody may read them
				t.Error(err)
			}
			continue
		}
		have, err := os.ReadFile(name)
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s differs from its source (%v): run 'go generate ./controller/install' and commit what it changes", name, err)
		}
	}
}
