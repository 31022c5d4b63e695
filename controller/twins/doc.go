// Package twins serves the live values of devices as an aggregated API of Kubernetes: get,
// list and watch of the resource twins in the group twins.edgekit.io. A Twin has the name of
// its Device and the form of its DeviceStatus. It comes from what cloudcore receives, before it
// is coalesced for the API server, so "kubectl get twins -w" shows each report.
//
//	store, err := twins.NewStore(twins.StoreConfig{})
//	// controller/devices puts reports into it: devices.Config.Live
//	server, err := twins.New(twins.Config{Store: store, Cloud: client, Certificate: certificate})
//	...
//	err = server.Run(ctx, listener)
//
// # Who may read
//
// Requests come from the API server, which authenticates the user and sends the name in
// headers. The server believes the headers of a client with a certificate of the API server's
// front proxy (config map extension-apiserver-authentication in kube-system). Other clients
// need a bearer token, which a TokenReview checks. A SubjectAccessReview then asks for each
// request whether the user may get, list or watch twins in the namespace; the answer is kept for
// ten seconds. Package install has the roles.
//
// Discovery and the OpenAPI document (v3, for "kubectl explain twins") are for each user that the
// API server has authenticated. There is no document of version 2.
//
// # Order and completeness
//
// Versions are numbers of this run of cloudcore and grow with each change. A watch gives each
// device's newest values: a slow client skips values in between and never gets an older one
// after a newer one. A watch from a version of another run ends with 410 Gone, and the client
// lists again. A deletion is remembered for the next few thousand. The Service has
// sessionAffinity ClientIP, so that an API server which uses its cluster address stays with one
// cloudcore; with --enable-aggregator-routing it picks one for each request, and a watch may
// have to list again.
//
// # Several cloudcores
//
// The cloudcore that has a node's session has the live values of its devices. Every
// other has what the DeviceStatus says, which is as fresh as the writes of
// controller/devices, and knows of all devices.
//
// # Memory
//
// A Store has one report of each device and no history, and at most StoreConfig.MaxBytes of
// them. A device whose report has no room is there without values (status.truncated). A watch
// holds the names of the devices that its client has only if it selects by labels.
//
// # Concurrency and stability
//
// All methods may be called by several goroutines at once. Paths and forms are Kubernetes' own;
// the Go API may change until version 1.
package twins
