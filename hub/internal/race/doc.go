// Package race has the decisions of a hub.Racer, as pure functions of what happened: in
// which order the ways to the cloud set out, when the next one does, and which winner to
// remember. It imports nothing of hub.
package race
