// Package devicetest helps to test drivers and what carries their values: a
// Driver and a Link in memory, and the suites that every device.Driver (RunDriver)
// and every device.Link (RunLink) passes. RunFaults runs a driver in a whole mapper while a
// Proxy has its device lie, hang, drop connections and restart.
package devicetest
