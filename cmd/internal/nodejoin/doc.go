// Package nodejoin gives a machine its identity as a node: 'edgecore join' and 'edgectl join'
// share it. It keeps the identity and the cloud's address in the node's data folder.
//
//	token, err := nodejoin.ReadToken("", "/root/token")
//	...
//	done, err := nodejoin.Join(ctx, nodejoin.Request{DataDir: "/var/lib/edgekit", Cloud: "cloud.example:10000", Token: token, Node: "edge-1"})
//
// A Join whose answer was lost is repeated with the same token: the key is on disk before the
// cloud is asked. An identity that was there before is replaced only once the cloud has agreed.
package nodejoin
