// Package podsources gathers the pods that a node is to run: those of the API server, and static
// pods from a folder and from a web server, which the API server shows as mirror pods.
//
//	s, err := podsources.New(podsources.Config{Objects: objects, Dir: dir, ...})
//	err = s.Follow(ctx, group.Go)
//	ok := s.WaitForFirst(ctx)
//	for _, pod := range s.All() { ... }
//	select {
//	case list, ok := <-s.API:
//		s.SetAPI(list)
//	...
//	}
//
// Each channel holds one list, the newest. A Sources belongs to the goroutine that reads them.
package podsources
