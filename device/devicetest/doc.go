// Package devicetest helps to test drivers and what carries their values: a
// Driver and a Link in memory, and the suite that every device.Link passes.
package devicetest
