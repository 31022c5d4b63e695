// Package console is cloudcore's web console: a page to look at a fleet of edge nodes, and the
// JSON API behind it.
//
//	s, err := console.New(console.Config{
//		REST: restConfig, Cloud: client, Listener: listener, Certificate: certificate,
//		Nodes: nodes, Pods: edgeController, Devices: deviceController, Jobs: jobsController,
//	})
//	...
//	err = s.Run(ctx)
//
// Package controller makes all of it from [Config] when its own Config has a Console.
//
// # What is served
//
// The page is at /console/ (the folder page/dist, embedded), its API at /console/api/v1/. Every
// answer has the same security headers; answers of the API are never stored. Errors are
// {"error":{"code":403,"message":"..."}}. Lists have pages: limit (at most 200) and cursor; a
// page costs the same whatever the size of the fleet, and a search reads the list once. The
// streams (fleet, live values, logs) are bounded in number, and one whose client does not read
// is ended.
//
// # Who may see what
//
// A user logs in with a token that the API server reviews (TokenReview), or sends one with each
// request. Lists come from the caches that cloudcore has anyway, after the API server said that
// this user may list or get that resource (SubjectAccessReview; its answer is used for 30
// seconds, a no for 10). A user with rights in some namespaces sees those. Events, values of
// devices, logs and every change are asked of the API server with the user's own token: it
// decides, and its audit log names the user. cloudcore's own rights are never lent.
//
// # Sessions
//
// POST session keeps the token in memory under a random 256-bit id, which the browser gets as a
// cookie that scripts cannot read and other sites cannot send. A session ends after 30 minutes
// without a request, after 12 hours, by DELETE session, when the API server no longer knows the
// token, and when cloudcore ends. Its times are measured with the monotonic clock, so that a
// wrong or changed clock of the machine logs nobody out. Sessions are deliberately not shared by
// several cloudcores: a token never leaves the process that it was given to, and logging out is
// final. A Service before several cloudcores therefore needs sessionAffinity, which the shipped
// one has; a request that comes to another cloudcore gets 401 and the page asks for the token
// again. Requests with a bearer token, such as those of "edgectl console", need no session.
//
// POST and DELETE need the header X-Edgekit-Console and must not come from another origin.
//
// # Stability
//
// The API under v1 is for the page of the same version; fields are only added.
package console
