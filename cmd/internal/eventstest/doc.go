// Package eventstest keeps one vocabulary of Kubernetes Events. Its test scans the source of the programs
// for all places that emit an Event, and compares their reasons with the table in reasons.go, of which
// controller/install/monitoring/EVENTS.md is made: a reason that is not in the table, or that no program
// emits any more, fails the test.
package eventstest
