// Package race has the decisions of a hub.Racer, as pure functions of what happened: in
// which order the dialers (here: lanes) start, when the next one starts, and which winner
// to remember. It imports nothing of hub.
package race
