// Package pluginrpc makes gRPC calls on the sockets of a node's plugins. Requests and
// answers are messages of protomsg:
//
//	conn, err := pluginrpc.Dial("/run/driver.sock")
//	defer conn.Close()
//	var request protomsg.Message
//	request.Text(1, "vol-1")
//	answer, err := pluginrpc.Call(ctx, conn, "/csi.v1.Node/NodeGetInfo", request)
//	err = protomsg.EachField(answer, func(f protomsg.Field) error { ... })
//
// An answer is at most 1 MiB, and an idle connection is closed after a minute: options of
// Dial change both. A connection is made when a call needs it.
package pluginrpc
