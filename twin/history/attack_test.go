package history

import (
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
)

func TestAttackDecoders(t *testing.T) {
	decode := func(b []byte) {
		c := chunk{seq: 1, newest: maxTime, count: min(len(b)/3, maxCount), bytes: len(b)}
		_, _ = decode(c, b)
		_, _ = decodeEntries(c, b) // as if the sum were right
	}
	decodetest.Search(t, decodetest.Case{Name: "twin_history_chunk", Units: []string{"\x00\x00\x00", "\x02\x01a\x00", "\x00\x01a\x01b"}, Decode: decode})
}
