// Package twin is the DeviceTwin of a node. It keeps which devices belong to the
// node, the state of each, and for each property the desired (expected) and the
// actual value.
//
// The rules are a pure function, Step, from a device's state and an event to
// the next state and a list of effects. An Engine runs Step for all devices of
// a node on a meta.Store. Package twin knows nothing of MQTT or Kubernetes:
// twin/mqtt speaks the topics and payloads that mappers and apps use, and
// twin/devicesync joins the engine to Device objects.
//
//	engine, err := twin.New(twin.Config{Store: memstore.New()})
//	...
//	go engine.Run(ctx) // in real code: an errgroup
//	err = engine.Put(ctx, "plant/boiler", twin.Put{})
//	...
//	_, err = engine.Update(ctx, "plant/boiler", map[string]*twin.Patch{
//		"temperature": {Actual: twin.Text("21"), Type: "int"},
//	})
//
// # Where is what
//
// The four sub-modules of KubeEdge's DeviceTwin, and the rest:
//
//	membership     membership.go: which devices belong to the node, and what their owner
//	               declares of them (Put, Remove, Membership)
//	device         device.go: state, last online, silence (SetState, ReadState, Tick);
//	               rule.go has the quality of a value
//	twin           twin.go and update.go: expected and actual values, versions, delta,
//	               document, delete; rule.go and value.go: what a value may be
//	communication  down and up, with the cloud: twin/devicesync;
//	               with mappers and apps on the node: twin/mqtt and twin/httpapi
//	pure rules     step.go: Step, events and effects
//	engine         engine.go, queue.go, commit.go (batches), records.go and encode.go (the
//	               store), times.go (what may be written later)
//	Go API         values.go (Report, Desire, Get), watch.go (Watch), past.go (History);
//	               twin/history keeps the past values
//
// # Without MQTT
//
// Report stores the values of devices, Desire sets desired ones, Get reads, and Watch follows:
//
//	err := engine.Report(ctx, twin.Values{Device: "plant/boiler", Values: map[string]string{"temperature": "21"}})
//	watch, err := engine.Watch(twin.WatchOptions{Namespace: "plant", Every: time.Second})
//	...
//	defer watch.Close()
//	change, err := watch.Next(ctx)
//
// A watcher that is slow never holds up the engine: it gets the newest value of each property,
// and how many it has missed.
//
// # History
//
// Past actual values are kept of the properties whose Rule.History asks for it. They are
// written together every Config.HistoryEvery, so a power cut may lose the past values of that
// time, and all of them together take Config.HistoryBytes at the most.
//
// # Durability
//
// A call returns, and subscribers are called, only after the change is in the
// store. Requests that wait while the store is busy are written together in one
// batch, so that many at once cost little more than one. Run reads all devices
// from the store first.
//
// # Order
//
// Requests are carried out in the order in which they were submitted, each as
// a whole or not at all. Subscribers see all commits in that order. Effects of
// one commit are in the order in which they must be carried out: a Result
// before the Document, the Document before the Delta.
//
// # Who wins
//
// Expected and actual values each have a version with two counters. A local
// update adds one to the edge's. A desired value of the device's owner (Put)
// carries the owner's version. It is adopted when it has changed since the last
// Put, so that a repeated Put does not undo a later local edit. A request with
// versions that are behind those held is refused with code 409.
//
// A twin's Expected is the desired value of Kubernetes. The name is KubeEdge's,
// whose MQTT payloads have it.
//
// # Concurrency
//
// All methods of Engine may be called by several goroutines at once. Device
// values that it gives out share their maps with it and are not to be changed.
package twin
