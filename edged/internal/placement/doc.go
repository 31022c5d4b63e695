// Package placement has containers run on the CPUs and the memory that package topology
// gives them. It keeps what was given in a file, and what all other containers run on up to
// date in the runtime.
//
//	p := placement.New(placement.Config{File: file, Allocator: alloc, Runtime: runtime, ...})
//	refused := p.Admit(pod)              // nil: its containers have what they need
//	p.Place(pod, "main", &cfg.Resources) // before the container is created
//	p.Release(keeps)                     // pods that have ended give back what they have
//	err := p.Run(ctx)
//
// All methods may be called by several goroutines. A nil Placement is one without any
// policy: it places nothing.
package placement
