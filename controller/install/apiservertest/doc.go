// Package apiservertest starts a real kube-apiserver, with an etcd of its own, for a test.
//
//	server := apiservertest.Start(t)
//	client, err := kubernetes.NewForConfig(server.Admin)
//
// Both programs end with the test. A test is skipped where they are not: "make cluster-up"
// builds them.
package apiservertest
