package broker

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
)

// TestWriteProperties encodes the program's properties as encodeProperties does those of
// clients, and reads them back.
func TestWriteProperties(t *testing.T) {
	for _, m := range []bus.Message{
		{},
		{ContentType: "text/plain"},
		{ResponseTopic: "r", Correlation: []byte{}},
		{Correlation: []byte{0, 1, 2}, Properties: []bus.Property{{Key: "event_id", Value: "1"}, {Key: "", Value: "ü"}}},
		{ContentType: "a", ResponseTopic: "b/c", Correlation: []byte("d"), Properties: []bus.Property{{Key: "k", Value: string(make([]byte, 1000))}}},
	} {
		p := packets.Properties{ContentType: m.ContentType, ResponseTopic: m.ResponseTopic, CorrelationData: m.Correlation}
		for _, u := range m.Properties {
			p.User = append(p.User, packets.UserProperty{Key: u.Key, Val: u.Value})
		}
		got := writeProperties(&m)
		if want := encodeProperties(&p); !bytes.Equal(got, want) || cap(got) != len(got) {
			t.Errorf("%+v: % x (cap %d), want % x", m, got, cap(got), want)
		}
		var back bus.Message
		if readProperties(&back, got); !reflect.DeepEqual(back, m) {
			t.Errorf("%+v came back as %+v", m, back)
		}
	}
}

func BenchmarkWriteProperties(b *testing.B) {
	m := bus.Message{Properties: []bus.Property{{Key: "event_id", Value: "4e1243bd-22c6-4a62-a1f2-d5d0e5d0c7a1"}}}
	b.ReportAllocs()
	for b.Loop() {
		writeProperties(&m)
	}
}
