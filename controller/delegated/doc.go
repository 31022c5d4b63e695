// Package delegated lets users of the cluster through to an HTTP handler: the API server says who a
// bearer token belongs to (TokenReview), and whether that user may use the path as a non-resource URL
// (SubjectAccessReview). Kubernetes' own components guard their /debug/pprof in this way.
//
//	g, err := delegated.New(delegated.Config{Cloud: client})
//	mux.Handle("GET /debug/pprof/", g.Protect(profiles))
//
// A user needs a ClusterRole such as
//
//	rules: [{nonResourceURLs: ["/debug/pprof/*"], verbs: ["get"]}]
//
// cloudcore's own right to ask is among those that package install gives it. Requests that are not
// authenticated are bounded: a few reviews a second. A token must not travel in plain text, so requests
// without TLS are served from this machine only, for example through kubectl port-forward.
package delegated
