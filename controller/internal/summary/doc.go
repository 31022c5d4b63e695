// Package summary makes short texts of the values of devices, for columns and events.
package summary
