// Package logind talks to systemd-logind over the system's message bus (D-Bus): the
// [shutdown.Logind] of a real machine. It is the only importer of the message bus library.
//
//	m, err := shutdown.New(shutdown.Config{Dial: logind.Dial, ...})
//
// https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.login1.html
package logind
