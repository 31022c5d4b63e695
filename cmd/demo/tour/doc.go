// Package tour is the demo's story, step by step: a cluster, a cloud, an edge
// node, an app, a device, then the link is cut and comes back. The command
// demo shows it to people, and the end to end test runs the same steps.
//
// Each step does something, waits until it has happened as seen through the
// Kubernetes API, the node or MQTT, and says what it saw; a step whose effect
// did not show is an error.
package tour
