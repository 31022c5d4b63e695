// Package wire defines what a node's API and the cloud send each other over the link: the
// capabilities by which a node asks for more than its pods, the keys that verify service
// account tokens, and the calls by which the cloud executes requests for the node.
//
// meta/apiserver imports it on the node, controller/nodeapi in the cloud.
package wire
