// Package slots lets a few calls that cost CPU run at a time, and does not let one that
// hangs hold up the others.
//
//	s := slots.New()
//	defer s.Acquire(ctx)()
//	err := runtime.StopSandbox(ctx, id)
package slots
