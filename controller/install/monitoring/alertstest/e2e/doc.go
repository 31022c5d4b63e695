// Package e2e has the real Prometheus scrape the real cloudcore and edgecore, at a real API server, and
// the real collectors of this repository. Each alert fires there since its cause is made, and resolves when
// it is mended; each query of the dashboard returns series. README.md of package monitoring lists the causes.
//
// The rules are those of package monitoring with all times divided by 120. One edgecore has a wrong clock: it
// is built with another package time, which takes two minutes of processor time the first time. 'make
// monitoring' runs it; it needs root, the programs of 'make cluster-up' and Prometheus.
package e2e
