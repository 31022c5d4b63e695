package cloudevents_test

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
)

var at = time.Date(2026, 11, 30, 14, 0, 0, 5e8, time.UTC)

func event() pipeline.Event {
	return pipeline.Event{ID: "A234", Source: "/mqtt/edge-7", Type: "plant.temp", Subject: "plant/a b/é", Time: at, Data: map[string]any{"value": 80.5, "ok": true}, Extensions: map[string]string{"site": "north \"1\" 100%", "seq": "5"}}
}

const asJSON = `{"specversion":"1.0","id":"A234","source":"/mqtt/edge-7","type":"plant.temp","subject":"plant/a b/é","time":"2026-11-30T14:00:00.5Z","seq":"5","site":"north \"1\" 100%","data":{"ok":true,"value":80.5}}`

func TestJSON(t *testing.T) {
	e := event()
	b, err := cloudevents.AppendJSON([]byte("x"), &e)
	if err != nil || string(b) != "x"+asJSON {
		t.Errorf("%s, %v", b, err)
	}
	for in, want := range map[string]pipeline.Event{
		asJSON: e,
		`{"specversion":"1.0","id":"1","source":"urn:x","type":"t"}`:                                                                            {ID: "1", Source: "urn:x", Type: "t"},
		`{"specversion":"1.0","id":"1","source":"urn:x","type":"t","subject":null,"data":null,"x":null}`:                                        {ID: "1", Source: "urn:x", Type: "t"},
		`{"specversion":"1.0","id":"1","source":"a","type":"t","n":-5,"b":true,"data_base64":"AQI="}`:                                           {ID: "1", Source: "a", Type: "t", Data: []byte{1, 2}, Extensions: map[string]string{"n": "-5", "b": "true"}},
		`{"specversion":"1.0","id":"1","source":"a","type":"t","datacontenttype":"application/json","data":"x"}`:                                {ID: "1", Source: "a", Type: "t", Data: "x"},
		`{"specversion":"1.0","id":"1","source":"a","type":"t","datacontenttype":"application/vnd.a+json; charset=utf-8","data_base64":"WzFd"}`: {ID: "1", Source: "a", Type: "t", Data: []any{1.0}},
		`{"specversion":"1.0","id":"1","source":"a","type":"t","datacontenttype":"text/xml","dataschema":"https://a/b","data":"<a/>"}`: {ID: "1", Source: "a", Type: "t", Data: "<a/>",
			Extensions: map[string]string{"datacontenttype": "text/xml", "dataschema": "https://a/b"}},
		`{"specversion":"1.0","id":"1","source":"a","type":"t","time":"2026-11-30T15:00:00+01:00"}`: {ID: "1", Source: "a", Type: "t", Time: time.Date(2026, 11, 30, 15, 0, 0, 0, time.FixedZone("", 3600))},
	} {
		got, err := cloudevents.Decode([]byte(in))
		if err != nil || !got.Time.Equal(want.Time) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
		got.Time, want.Time = time.Time{}, time.Time{}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v; want %+v", in, got, want)
		}
	}
}

// TestRefuses has what the specification does not allow.
func TestRefuses(t *testing.T) {
	with := func(more string) string {
		return `{"specversion":"1.0","id":"1","source":"a","type":"t",` + more + `}`
	}
	for in, want := range map[string]string{
		`[]`: "an event must be an object", `{`: "json at byte 1", `{}`: "specversion: it must be \"1.0\"", `{"specversion":"0.3","id":"1","source":"a","type":"t"}`: "specversion",
		`{"specversion":"1.0","source":"a","type":"t"}`: "id: it is required", `{"specversion":"1.0","id":"","source":"a","type":"t"}`: "id: it is required", `{"specversion":"1.0","id":"1","type":"t"}`: "source: it is required",
		`{"specversion":"1.0","id":"1","source":"a"}`: "type: it is required", `{"specversion":"1.0","id":1,"source":"a","type":"t"}`: "id: it must be a text", `{"specversion":"1.0","id":"1","source":"::%","type":"t"}`: "source: \"::%\" is not a URI",
		with(`"subject":""`): "subject: it may not be empty", with(`"time":"yesterday"`): "time: \"yesterday\" is not a time", with(`"Upper":"a"`): "\"Upper\" may have", with(`"a_b":"a"`): "\"a_b\" may have", with(`"":"a"`): "0 letters",
		with(`"` + strings.Repeat("a", 65) + `":"a"`): "65 letters", with(`"x":{}`): "x: it must be a text, a bool", with(`"x":1.5`): "x: a number must be whole", with(`"x":2147483648`): "x: a number must be whole",
		with(`"x":"a\u0007"`): "U+0007 at byte 1", with(`"x":"\u0085"`): "U+0085", with(`"x":"\uffff"`): "U+FFFF", with(`"dataschema":"b"`): "not an absolute URI", with(`"data":1,"data_base64":""`): "exclude each other",
		with(`"data_base64":"%"`): "not base64", with(`"data_base64":5`): "must be a text", with(`"datacontenttype":"application/json","data_base64":"ew=="`): "json at byte 1",
	} {
		if got, err := cloudevents.Decode([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %s", in, got, err, want)
		}
	}
	for _, e := range []pipeline.Event{
		{}, {ID: "1", Source: "a"}, {ID: "1", Source: "a", Type: "t", Extensions: map[string]string{"data": "x"}}, {ID: "1", Source: "a", Type: "t", Extensions: map[string]string{`a":1,"b`: "x"}},
		{ID: "1\x00", Source: "a", Type: "t"}, {ID: "\xff", Source: "a", Type: "t"}, {ID: "1", Source: "a", Type: "t", Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, {ID: "1", Source: "a", Type: "t", Data: math.NaN()},
	} {
		if b, err := cloudevents.AppendJSON(nil, &e); err == nil {
			t.Errorf("%+v: %s", e, b)
		}
		if b, err := cloudevents.ToHTTP(http.Header{}, &e); err == nil {
			t.Errorf("%+v over HTTP: %s", e, b)
		}
	}
}

func TestBatch(t *testing.T) {
	events := []pipeline.Event{event(), {ID: "2", Source: "a", Type: "t", Data: []byte{}}}
	b, err := cloudevents.AppendBatch(nil, events)
	if err != nil {
		t.Fatal(err)
	}
	got, err := cloudevents.DecodeBatch(b)
	if err != nil || !reflect.DeepEqual(got, events) {
		t.Errorf("%s: %+v, %v", b, got, err)
	}
	if got, err := cloudevents.DecodeBatch([]byte(`[]`)); err != nil || len(got) != 0 {
		t.Errorf("an empty batch: %v, %v", got, err)
	}
	_, err = cloudevents.DecodeBatch([]byte(`[` + asJSON + `,` + asJSON + `,{"specversion":"1.0"}]`))
	var attribute *cloudevents.AttributeError
	if !errors.As(err, &attribute) || attribute.Index != 2 || attribute.Attribute != "id" {
		t.Errorf("a wrong event: %v", err)
	}
	if _, err := cloudevents.AppendBatch(nil, append(events, pipeline.Event{})); err == nil || !strings.Contains(err.Error(), "event 2: id") {
		t.Errorf("a wrong event: %v", err)
	}
	if _, err := cloudevents.DecodeBatch([]byte(`{}`)); err == nil {
		t.Error("an object as a batch")
	}
}

// TestHTTP sends events in all modes over a connection.
func TestHTTP(t *testing.T) {
	var got []pipeline.Event
	var failed error
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, max(r.ContentLength, 0))
		if _, err := r.Body.Read(body); err != nil && len(body) > 0 && err.Error() != "EOF" {
			t.Error(err)
		}
		got, failed = cloudevents.FromHTTP(r.Header, body)
	}))
	defer srv.Close()
	send := func(h http.Header, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = h
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	for _, e := range []pipeline.Event{
		event(), {ID: "2", Source: "a", Type: "t", Data: []byte{1, 0, 255}, Extensions: map[string]string{"datacontenttype": "application/octet-stream"}}, {ID: "2", Source: "a", Type: "t"},
		{ID: "2", Source: "a", Type: "t", Data: "a\nb", Extensions: map[string]string{"datacontenttype": "text/plain"}}, {ID: "2", Source: "a", Type: "t", Data: "quoted"}, {ID: "2", Source: "a", Type: "t", Data: []any{1.0, nil}},
		{ID: "2", Source: "a", Type: "t", Data: []byte("<a/>"), Extensions: map[string]string{"datacontenttype": "application/xml", "dataschema": "urn:x"}},
	} {
		h := http.Header{}
		body, err := cloudevents.ToHTTP(h, &e)
		if err != nil {
			t.Fatal(err)
		}
		if send(h, string(body)); failed != nil || len(got) != 1 || !reflect.DeepEqual(got[0], e) {
			t.Errorf("binary: %+v, %v; want %+v", got, failed, e)
		}
	}
	e := event()
	if send(http.Header{"Content-Type": {cloudevents.ContentType + "; charset=UTF-8"}}, asJSON); failed != nil || !reflect.DeepEqual(got, []pipeline.Event{e}) {
		t.Errorf("structured: %+v, %v", got, failed)
	}
	if send(http.Header{"Content-Type": {cloudevents.BatchContentType}}, "["+asJSON+","+asJSON+"]"); failed != nil || !reflect.DeepEqual(got, []pipeline.Event{e, e}) {
		t.Errorf("batch: %+v, %v", got, failed)
	}
	basic := func(more ...string) http.Header {
		h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"a"}, "Ce-Type": {"t"}, "Content-Type": {"application/json"}}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = append(h[more[i]], more[i+1])
		}
		return h
	}
	if send(basic("Ce-Subject", `"a \"b\" %C3%A9"`, "Ce-X", "Euro%20%E2%82%AC"), "1"); failed != nil || got[0].Subject != `a "b" é` || got[0].Extensions["x"] != "Euro €" {
		t.Errorf("quoted headers: %+v, %v", got, failed)
	}
	for want, h := range map[string]http.Header{
		"the header ce-specversion must be":    {"Content-Type": {"application/json"}},
		"the event format is not supported":    {"Content-Type": {"application/cloudevents+avro"}},
		"the charset \"latin1\" is not UTF-8":  {"Content-Type": {cloudevents.ContentType + ";charset=latin1"}},
		"the Content-Type \"a/\" is malformed": {"Content-Type": {"a/"}},
		"id: the header is there 2 times":      basic("Ce-Id", "2"),
		"datacontenttype: it is not a header":  basic("Ce-Datacontenttype", "a/b"),
		"x: a percent sign":                    basic("Ce-X", "%2"),
		"y: a percent sign":                    basic("Ce-Y", "a%zz"),
		"z: the bytes after percent":           basic("Ce-Z", "%FF"),
		"\"a-b\" may have the letters":         basic("Ce-A-B", "x"),
		"the character U+000A":                 basic("Ce-X", "a%0Ab"),
	} {
		if send(h, "1"); failed == nil || !strings.Contains(failed.Error(), want) {
			t.Errorf("%v: %+v, %v; want %s", h, got, failed, want)
		}
		if strings.HasPrefix(want, "the event format") != errors.Is(failed, cloudevents.ErrUnsupported) {
			t.Errorf("%v", failed)
		}
	}
	if !cloudevents.IsEvent(basic()) || !cloudevents.IsEvent(http.Header{"Content-Type": {cloudevents.BatchContentType}}) || cloudevents.IsEvent(http.Header{"Content-Type": {"application/json"}}) {
		t.Error("IsEvent")
	}
}

// TestAttackEvents has batches that take the most memory for their length.
func TestAttackEvents(t *testing.T) {
	for _, each := range []string{`""`, `{}`, `{"specversion":"1.0","id":"1","source":"a","type":"t"}`, `{"specversion":"1.0","id":"1","source":"a","type":"t","x":"y"}`} {
		in := []byte("[" + strings.Repeat(each+",", (1<<20)/(len(each)+1)) + each + "]")
		result := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				_, _ = cloudevents.DecodeBatch(in)
			}
		})
		if per := float64(result.AllocedBytesPerOp()-codec.Free) / float64(len(in)); per > 2*codec.Multiple {
			t.Errorf("%s: %.1f bytes for each", each, per)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(asJSON))
	f.Add([]byte("[" + asJSON + "]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = cloudevents.DecodeBatch(b)
		e, err := cloudevents.Decode(b)
		if err != nil {
			return
		}
		again, err := cloudevents.AppendJSON(nil, &e)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if got, err := cloudevents.Decode(again); err != nil || !got.Time.Equal(e.Time) || got.ID != e.ID || !reflect.DeepEqual(got.Data, e.Data) || !reflect.DeepEqual(got.Extensions, e.Extensions) {
			t.Fatalf("%s: %+v; want %+v, %v", again, got, e, err)
		}
	})
}

func FuzzFromHTTP(f *testing.F) {
	f.Add("application/json", "1", "a", "%20", []byte("{}"))
	f.Add(cloudevents.ContentType, "", "", "", []byte(asJSON))
	f.Fuzz(func(t *testing.T, kind, id, source, more string, body []byte) {
		h := http.Header{"Content-Type": {kind}, "Ce-Specversion": {"1.0"}, "Ce-Id": {id}, "Ce-Source": {source}, "Ce-Type": {"t"}, "Ce-X": {more}}
		events, err := cloudevents.FromHTTP(h, body)
		if err != nil {
			return
		}
		for i := range events {
			out := http.Header{}
			if _, err := cloudevents.ToHTTP(out, &events[i]); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	e := event()
	var buf []byte
	var err error
	b.ReportAllocs()
	for b.Loop() {
		if buf, err = cloudevents.AppendJSON(buf[:0], &e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(asJSON)))
	var r cloudevents.Reader
	for b.Loop() {
		if _, err := r.Decode([]byte(asJSON)); err != nil {
			b.Fatal(err)
		}
	}
}
