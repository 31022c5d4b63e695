// Package control is the local interface of a program that runs pipelines: what runs and how it does, live
// events, the queues of sinks and dead letters. Handler serves it over HTTP, usually on a unix socket;
// Client is for programs such as edgectl.
//
//	h, err := control.New(control.Config{Runner: runner, Queues: queues})
//	go http.Serve(listener, h)
//	...
//	c := control.NewClient("/var/lib/edgekit/edgepipe.sock")
//	err = c.Tap(ctx, pipeline.TapRequest{Ref: ref, Step: "hot"}, func(e control.TapEvent) error { ... })
//
// # Wire
//
//	GET    /v1/status                                    what runs, with counts of each step and queue
//	GET    /v1/tap?pipeline=NS/NAME&step=                live events, one JSON in each line; events=, rate= and bytes= are limits
//	GET    /v1/queues/events?pipeline=NS/NAME&sink=      what waits for a sink, one CloudEvent in each line
//	DELETE /v1/queues/events?pipeline=NS/NAME&sink=      drops it; before= is a time in RFC 3339
//	POST   /v1/queues/replay?pipeline=NS/NAME&sink=      sends again what was sent and kept; from= and to= are times
//	GET    /v1/dead-letters?pipeline=NS/NAME             one JSON in each line
//	DELETE /v1/dead-letters?pipeline=NS/NAME&id=         drops those with the ids, or all
//	POST   /v1/dead-letters/replay?pipeline=NS/NAME&id=  gives them back to where they failed: sources, steps and sinks
//
// A stream of lines that fails has a last line {"error": "..."}.
//
// # Rights
//
// The Handler asks nobody who they are. Serve it on a unix socket that only root may open: an event may hold
// what the node's users must not see.
//
// Handler and Client may be used by several goroutines at once.
package control
