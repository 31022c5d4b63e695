// Package sdnotify reports the state of a program to systemd, for units of Type=notify with
// a watchdog (sd_notify(3)): that it is ready, what it does, that it stops, and that it is
// healthy. Outside of such a unit nothing is sent.
//
//	reporter := sdnotify.New(sdnotify.Config{Healthy: healthy, Logger: log})
//	...
//	err := reporter.Run(ctx)
//
// The watchdog is fed only while Healthy returns nil. A Healthy that blocks is as good as
// one that fails: systemd ends the program, with the stacks of its goroutines in the journal,
// and starts it again.
package sdnotify
