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
// page costs the same whatever the size of the fleet, and a search reads the list once. Requests
// and streams (fleet, live values, logs) are bounded in number, for all users and for each, and a
// stream whose client does not read is ended.
//
// # The API
//
//	POST, DELETE session               log in with {"token": "..."}; log out
//	GET me                             the user, and what the user may do in the whole cluster
//	GET summary                        counts of nodes, versions, sites, devices and jobs
//	GET nodes                          ?search= state= site= sort=
//	GET nodes/NAME                     and its pods, devices, events: nodes/NAME/pods ...
//	GET devices                        ?search= node= state= namespace= sort=
//	GET devices/NAMESPACE/NAME         with the values of its properties
//	GET jobs                           ?search=, newest first
//	GET jobs/KIND/NAME                 ?search= phase= of its nodes
//	POST jobs/KIND/NAME/ACTION         pause, resume, cancel
//	GET stream?topics=summary,nodes    events "summary" and "nodes", at most one of each a second
//	GET devices/NAMESPACE/NAME/live    an event for each value that changed
//	GET pods/NAMESPACE/NAME/log        text; ?container= tail= follow=1 previous=1
//
// A part of an answer that the user has no right to see is not there. The codes are 400 for a bad
// request; 401 for no session or a bad token; 403 for no right; 404; 409 for a change that the
// job's state does not allow; 429 for too many requests; 503 while the API server does not answer
// or the caches are being filled. 429 and 503 have Retry-After.
//
// Live values come at once from nodes that are connected to this cloudcore, and as often as the
// DeviceStatus is written from all others.
//
// # Who may see what
//
// A user logs in with a token that the API server reviews (TokenReview), or sends one with each
// request. Lists come from the caches that cloudcore has anyway, after the API server said that
// this user may list or get that resource (SubjectAccessReview; its answer is used for 30
// seconds, a no for 10). A user with rights in some namespaces sees those. Events, values of
// devices, logs and every change are asked of the API server with the user's own token: it
// decides, and its audit log names the user. cloudcore's own rights are never lent. A stream ends
// at most 75 seconds after its user has logged out or lost the right to what it sends.
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
// one has. An Ingress or Gateway that sends requests to the pods itself, as most do, needs its own
// affinity, by cookie or by client address. A request that comes to another cloudcore gets 401 and
// the page asks for the token again. Requests with a bearer token, such as those of "edgectl console", need no session.
//
// POST and DELETE need the header X-Edgekit-Console and must not come from another origin.
//
// # Stability
//
// The API under v1 is for the page of the same version; fields are only added.
package console
