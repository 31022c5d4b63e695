// Package monitoring holds what Prometheus and Grafana need to watch a fleet: alerts and recording
// rules, a dashboard, and examples of scrape configurations.
//
//	file, err := monitoring.RuleFile(monitoring.Config{})
//
// The functions write the same rules in two forms: a file for Prometheus ([RuleFile], rules.yaml) and an
// object for the Prometheus operator ([PrometheusRule], prometheusrule.yaml). [Dashboard] writes
// dashboard.json. "go generate" writes the files in this folder; a test compares them. README.md says
// how to use them and what to do about each alert. METRICS.md lists the metrics.
//
// The module alertstest below this folder tests all of it with the real Prometheus and promtool.
package monitoring

//go:generate env EDGEKIT_UPDATE=1 go test -count=1 -run ^TestGeneratedFiles$ .
