package hub

import (
	"bytes"
	"compress/flate"

	"google.golang.org/protobuf/encoding/protowire"
)

// KnownKind reports whether there is a frame with that number.
func KnownKind(number int) bool {
	return known(protowire.Number(number))
}

// HelloOf is a hello as it stands on the wire.
func HelloOf(node, instance string, dial uint64) []byte {
	return appendDelimited(nil, hello{
		Min: protocolMin, Max: protocolMax, Node: node, Instance: instance, Dial: dial, Capabilities: []string{capEvents, capBatch}, // its streams are not announced
		Limits: withDefaults(Limits{}),
	})
}

// FramesNaming are frames of each kind, by number, that name the node wherever
// they name anything, as they stand on the wire.
func FramesNaming(node string) map[int][]byte {
	key := Key{Resource: "nodes", Namespace: node, Name: node}
	m := Message{ID: 1, Operation: Query, Key: key, Version: "9", Body: []byte(node), Error: &Error{Code: CodeForbidden, Text: node}}
	inner := put{1, m}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	_, _ = w.Write(appendDelimited(nil, inner)) // to memory
	_ = w.Close()
	all := make(map[int][]byte)
	for _, f := range []frame{
		hello{Min: protocolMin, Max: protocolMax, Node: node, Instance: node, Version: node, Limits: withDefaults(Limits{}), Dial: 99},
		welcome{Version: protocolMax, Epoch: 1 << 62, Keepalive: minKeepalive, Limits: withDefaults(Limits{})},
		goodbye{Kind: goodbyeFenced, Err: &Error{Code: CodeForbidden, Text: node}, Epoch: 1 << 62},
		ping{ID: 1}, pong{1}, digest{}, want{},
		versions{Entries: []entry{{key, "9"}}, Last: true},
		put{1, m}, ack{1}, nack{1, &Error{Code: CodeForbidden, Text: node}},
		fragment{Data: appendFrame(nil, inner), Last: true},
		cancel{1}, open{Class: classCall, Message: m}, response{m},
		marks{Entries: []mark{{node, 1 << 40}}, Last: true},
		event{Event{Source: node, ID: 1, Key: key, Body: []byte(node)}},
		refusal{Source: node, ID: 1, Err: &Error{Code: CodeForbidden, Text: node}},
		opening{1},
		batch{Raw: uint64(len(appendDelimited(nil, inner))), Data: packed.Bytes()},
	} {
		all[int(f.number())] = appendDelimited(nil, f)
	}
	return all
}
