// Package oomwatch notices that the kernel has killed a process because the whole machine was out of
// memory. That a container went over its own limit is not its business: the runtime says that.
//
//	err := oomwatch.Run(ctx, oomwatch.Config{File: "/dev/kmsg", Killed: func(v oomwatch.Victim) { ... }})
//
// It reads the kernel's messages (/dev/kmsg), those that come while it runs only.
package oomwatch
