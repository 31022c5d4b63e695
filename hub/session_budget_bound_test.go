package hub

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// TestAttackOpenings searches for the streams that cost most.
func TestAttackOpenings(t *testing.T) {
	limits := message.DefaultLimits(Limits{})
	decodetest.Search(t,
		decodetest.Case{Name: "hub_calls", Units: []string{"x", "\x3a\x00", "\x42\x02xx", "\x0a\x02xx", "\x3a\x02\x12\x00"},
			Wrap: func(b []byte) []byte {
				m := append(protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.VarintType), uint64(Query)), b...)
				o := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
				o = protowire.AppendBytes(protowire.AppendTag(o, 3, protowire.BytesType), m)
				return protowire.AppendBytes(nil, protowire.AppendBytes(protowire.AppendTag(nil, wire.NumOpen, protowire.BytesType), o))
			},
			Decode: func(b []byte) {
				s := &session{sessionConfig: sessionConfig{limits: limits, stats: newCounters()}, ctx: t.Context()}
				st := pipeStream{bytes.NewReader(b), nil}
				r := wire.NewReader(st, limits.MaxFrame, 0)
				r.Owned = true
				if _, slot, err := s.readOpen(st, r); err == nil {
					slot.release()
				}
			}},
		decodetest.Case{Name: "hub_chunks", Units: []string{"\x01\x00", "\x01\x01x", "\x03\x02\x08\x01", "\x02\x00"}, Decode: func(b []byte) {
			h, p := newHalf(pipeStream{bytes.NewReader(b), nil}, nil), make([]byte, 512)
			for {
				if _, err := h.Read(p); err != nil {
					return
				}
			}
		}},
	)
}
