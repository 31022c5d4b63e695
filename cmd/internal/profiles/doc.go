// Package profiles serves profiles of the program that it is in, for "go tool pprof": heap, allocs,
// goroutine, threadcreate, block, mutex, and profile, which is that of the CPU.
//
//	for path, h := range profiles.New().Handlers("/debug/pprof/") {
//		mux.Handle("GET "+path, h)
//	}
//
// It does not authenticate: whoever serves it must. One profile is made at a time, that of the CPU takes
// 30 s at most, and further requests get 429. It is net/http/pprof with these bounds, without traces, and
// without what that adds to http.DefaultServeMux.
package profiles
