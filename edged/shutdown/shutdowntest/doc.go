// Package shutdowntest has stand-ins of systemd-logind for tests: [Logind], which is one
// in memory, and [ServeBus], which puts it on a real message bus.
package shutdowntest
