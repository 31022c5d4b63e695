package hub

import (
	"bytes"
	"compress/flate"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// KnownKind reports whether there is a frame with that number.
func KnownKind(number int) bool {
	return wire.Known(protowire.Number(number))
}

// HelloOf is a hello as it stands on the wire.
func HelloOf(node, instance string, dial uint64) []byte {
	return wire.AppendDelimited(nil, wire.Hello{
		Min: wire.ProtocolMin, Max: wire.ProtocolMax, Node: node, Instance: instance, Dial: dial, Capabilities: []string{capEvents, capBatch}, // its streams are not announced
		Limits: message.DefaultLimits(Limits{}),
	})
}

// FramesNaming returns encoded frames of each kind, by number, that name the node in
// every field that can have a name.
func FramesNaming(node string) map[int][]byte {
	key := Key{Resource: "nodes", Namespace: node, Name: node}
	m := Message{ID: 1, Operation: Query, Key: key, Version: "9", Body: []byte(node), Error: &Error{Code: CodeForbidden, Text: node}}
	inner := wire.Put{Seq: 1, Message: m}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	_, _ = w.Write(wire.AppendDelimited(nil, inner)) // to memory
	_ = w.Close()
	all := make(map[int][]byte)
	for _, f := range []wire.Frame{
		wire.Hello{Min: wire.ProtocolMin, Max: wire.ProtocolMax, Node: node, Instance: node, Version: node, Limits: message.DefaultLimits(Limits{}), Dial: 99},
		wire.Welcome{Version: wire.ProtocolMax, Epoch: 1 << 62, Keepalive: minKeepalive, Limits: message.DefaultLimits(Limits{})},
		wire.GoAway{Kind: wire.GoAwayFenced, Err: &Error{Code: CodeForbidden, Text: node}, Epoch: 1 << 62},
		wire.Ping{ID: 1}, wire.Pong{ID: 1}, wire.Digest{}, wire.Want{},
		wire.Versions{Entries: []message.Entry{{Key: key, Version: "9"}}, Last: true},
		wire.Put{Seq: 1, Message: m}, wire.Ack{Seq: 1}, wire.Nack{Seq: 1, Err: &Error{Code: CodeForbidden, Text: node}},
		wire.Fragment{Data: wire.AppendFrame(nil, inner), Last: true},
		wire.Cancel{ID: 1}, wire.Open{Class: wire.ClassCall, Message: m}, wire.Response{Message: m},
		wire.Marks{Entries: []message.Mark{{Source: node, ID: 1 << 40}}, Last: true},
		wire.Event{Event: Event{Source: node, ID: 1, Key: key, Body: []byte(node)}},
		wire.Refusal{Source: node, ID: 1, Err: &Error{Code: CodeForbidden, Text: node}},
		wire.Opening{Count: 1},
		wire.Batch{Raw: uint64(len(wire.AppendDelimited(nil, inner))), Data: packed.Bytes()},
	} {
		all[int(wire.Number(f))] = wire.AppendDelimited(nil, f)
	}
	return all
}
