// Package edgedtest is for those who embed an edged.Agent: an API server in memory, and
// suites for the interfaces that an embedder implements.
//
// [API] implements edged.Objects, edged.Reports and all that they may have besides
// (edged.LastReports, edged.BoundPodLister, edged.Mirrorer, edged.NodeReader and
// edged.NodeDeletionWatcher). A test puts pods into it and waits for their status:
//
//	api, rt := edgedtest.NewAPI(), runtimetest.New()
//	api.PutPod(pod)
//	agent, err := edged.New(edged.Config{NodeName: "gate-7", Runtime: rt, Objects: api, Reports: api, ...})
//	// in one goroutine: err = agent.Run(ctx)
//	err = api.Wait(ctx, func() bool { return api.IsReady(pod.UID) })
//
// An implementation of one's own is held to the contract of each interface by its
// suite: [RunObjects], [RunReports], [RunLastReports], [RunMirrorer], [RunNodeReader],
// [RunNodeDeletionWatcher] and [RunBoundPodLister]. Each takes a function that opens a fresh
// implementation, and needs only what stands above or below it: a way to put objects
// in, or to see what was reported.
//
// The suites use real time and no synctest bubble, so that an implementation may do I/O.
package edgedtest
