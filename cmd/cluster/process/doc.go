// Package process starts long-lived programs that outlive the command that
// started them, and stops exactly those again.
//
// Each program runs in a session of its own, with its output appended to a
// log file. What was started is recorded as one file per program: its pid
// together with the kernel's start time and boot id, so that a pid which has
// since been given to another program is never taken for ours. Every program
// also carries the environment variable [Marker] with the table's folder,
// which finds what a crash left unrecorded.
//
// A Table may be used by one program at a time; callers hold a lock of their
// own around it. Linux only.
package process
