// Package alertstest tests the rules, the dashboard and the scrape configurations of package
// monitoring with the real Prometheus and promtool. Its folder build builds both from their Go module, at the
// version in go.mod; 'make monitoring' calls it. Tests that need a program which is not built are skipped.
//
// The tests here are quick: promtool checks the files and tests each rule with series that are written down,
// and each name in a rule or a panel must be one that the code exports (METRICS.md). Package e2e has the
// real Prometheus scrape the real programs: there each alert fires since its cause is made, and resolves.
package alertstest
