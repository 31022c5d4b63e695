// Package pluginrpc makes gRPC calls on the sockets of a node's plugins, with messages that
// are written and read by hand:
//
//	conn, err := pluginrpc.Dial("/run/driver.sock")
//	defer conn.Close()
//	var request pluginrpc.Message
//	request.Text(1, "vol-1")
//	answer, err := pluginrpc.Call(ctx, conn, "/csi.v1.Node/NodeGetInfo", request)
//	err = pluginrpc.EachField(answer, func(f pluginrpc.Field) error { ... })
//
// The generated packages of such messages cost each node about a mebibyte each, used or
// not. An answer is at most 1 MiB. A connection is made when a call needs it, and closed
// after a minute without one.
package pluginrpc
