// Package load keeps a busy server responsive: who may connect and when, who may work,
// and what time costs.
//
//   - [HandshakeLimiter] paces handshakes and spreads those that return.
//   - [Admission] bounds the connections between their first packet and their Accept.
//   - [Backlog] holds connections from their handshake to the Accept that takes them. A
//     connection that ends while it waits leaves at once and is never accepted: under a
//     load that makes peers give up, Accept would otherwise return only dead ones.
//   - [FairSemaphore] shares places for work among nodes.
//   - [TimerHeap] runs the timers of many links on one timer of Go's.
//   - [CPU] tells whether the CPU is short.
//
// The package knows nothing of hub.
package load
